/* max(x, 0). */
#include "worker/layers/layer.h"
#include "worker/ops/op_relu.h"

static enum status prepare(struct layer *layer, struct layer_plan *plan, struct error *error)
{
    (void)plan;
    (void)error;
    layer->out = layer->in;
    return STATUS_OK;
}

static struct layer_value forward(const struct layer *layer, const struct layer_call *call,
                                  const struct layer_value *input)
{
    (void)layer;
    struct layer_value out = *input;
    if (out.sparse != NULL) out.sparse = op_relu_features(call->tape, out.sparse);
    for (int part = 0; part < 2; part++)
        if (out.dense[part] != NULL) out.dense[part] = op_relu(call->tape, out.dense[part]);
    return out;
}

const struct layer_kind layer_relu = {
    .name = "relu", .in_place = true, .prepare = prepare, .forward = forward};

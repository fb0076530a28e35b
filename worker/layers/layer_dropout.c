/* Dropout while training; nothing otherwise. */
#include "common/rng.h"
#include "worker/layers/layer.h"
#include "worker/ops/op_dropout.h"

static enum status prepare(struct layer *layer, struct layer_plan *plan, struct error *error)
{
    (void)plan;
    layer->out = layer->in;
    if (layer->config.rate >= 0.0f && layer->config.rate < 1.0f) return STATUS_OK;
    return error_set(error, STATUS_CONFIG, "rate is %g; expected 0 <= rate < 1",
                     (double)layer->config.rate);
}

static struct layer_value forward(const struct layer *layer, const struct layer_call *call,
                                  const struct layer_value *input)
{
    struct layer_value out = *input;
    if (!call->training) return out;
    float rate = layer->config.rate;
    if (out.sparse != NULL)
        out.sparse = op_dropout_features(call->tape, out.sparse, rate, rng_key(call->key, 2));
    for (uint32_t part = 0; part < 2; part++)
        if (out.dense[part] != NULL)
            out.dense[part] =
                op_dropout(call->tape, out.dense[part], rate, rng_key(call->key, part));
    return out;
}

const struct layer_kind layer_dropout = {
    .name = "dropout", .in_place = true, .prepare = prepare, .forward = forward};

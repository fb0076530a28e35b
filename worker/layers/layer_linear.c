/* X W + b. */
#include "worker/layers/layer.h"
#include "worker/ops/op_bias.h"

static enum status prepare(struct layer *layer, struct layer_plan *plan, struct error *error)
{
    (void)error;
    layer->out = layer_units(layer, plan);
    layer_add_matrix(layer, plan, "weight", layer->in, layer->out);
    if (!layer->config.no_bias) layer_add_bias(layer, plan, layer->out);
    return STATUS_OK;
}

static struct layer_value forward(const struct layer *layer, const struct layer_call *call,
                                  const struct layer_value *input)
{
    struct tensor *w = layer_parameter(layer, call, 0);
    struct tensor *out = layer_value_linear(call->tape, input, NULL, input->rows, w, NULL);
    if (!layer->config.no_bias) op_bias(call->tape, out, layer_parameter(layer, call, 1));
    return layer_value_of(out);
}

const struct layer_kind layer_linear = {.name = "linear", .prepare = prepare, .forward = forward};

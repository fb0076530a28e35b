/* What a table's spec may say. */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "ps/optimizer.h"
#include "ps/table_spec.h"

/* Floats of a dense table's tensors together: 16 GiB of weights. */
#define DENSE_FLOATS_MAX (UINT64_C(1) << 32)

static bool is_name(const char *name)
{
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes > TABLE_NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < bytes; i++) {
        if (name[i] < 0x20 || name[i] > 0x7e) return false;
    }
    return true;
}

static bool is_not_negative(float value)
{
    return isfinite(value) && value >= 0;
}

/* Checks the way a tensor or a sparse table's rows start; `what` names it. */
static enum status check_init(const char *table, const char *what, Anthill__InitKind init,
                              float scale, struct error *error)
{
    if ((uint32_t)init > ANTHILL__INIT_KIND__INIT_ONE) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": %s: init %u is unknown", table, what,
                         (unsigned)init);
    }
    if (!is_not_negative(scale)) {
        return error_set(error, STATUS_CONFIG,
                         "table \"%s\": %s: init_scale %g; 0 or more expected", table, what,
                         (double)scale);
    }
    return STATUS_OK;
}

static bool is_ftrl(const Anthill__OptimizerSpec *spec)
{
    return spec->kind == ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL;
}

/* A field of an optimizer that has a number it may not have. */
static enum status refuse(const char *table, const char *field, float value, const char *expected,
                          struct error *error)
{
    return error_set(error, STATUS_CONFIG, "table \"%s\": %s %g; %s expected", table, field,
                     (double)value, expected);
}

/* Fields that the kind does not use are numbers, too: specs are compared field by field. */
static enum status check_numbers(const char *table, const Anthill__OptimizerSpec *spec,
                                 struct error *error)
{
    const struct {
        const char *field;
        float value;
    } numbers[] = {
        {"rate", spec->rate},
        {"beta1", spec->beta1},
        {"beta2", spec->beta2},
        {"epsilon", spec->epsilon},
        {"weight_decay", spec->weight_decay},
        {"momentum", spec->momentum},
        {"l1", spec->l1},
        {"l2", spec->l2},
        {"ftrl_beta", spec->ftrl_beta},
        {"clip_value", spec->clip_value},
        {"clip_norm", spec->clip_norm},
        {"rate_final", spec->rate_final},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!is_not_negative(numbers[i].value)) {
            return refuse(table, numbers[i].field, numbers[i].value, "0 or more", error);
        }
    }
    return STATUS_OK;
}

static enum status check_schedule(const char *table, const Anthill__OptimizerSpec *spec,
                                  struct error *error)
{
    if ((uint32_t)spec->schedule > ANTHILL__SCHEDULE_KIND__SCHEDULE_COSINE) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": schedule %u is unknown", table,
                         (unsigned)spec->schedule);
    }
    if (spec->rate_final > 1) {
        return refuse(table, "rate_final", spec->rate_final, "at most 1", error);
    }
    if (spec->schedule == ANTHILL__SCHEDULE_KIND__SCHEDULE_CONSTANT) return STATUS_OK;
    if (spec->total_clocks == 0 || spec->total_clocks < spec->warmup_clocks) {
        return error_set(error, STATUS_CONFIG,
                         "table \"%s\": total_clocks %" PRIu64 " and warmup_clocks %" PRIu64
                         "; for a linear or cosine schedule 1 or more, and no less than "
                         "warmup_clocks, expected",
                         table, spec->total_clocks, spec->warmup_clocks);
    }
    return STATUS_OK;
}

static enum status check_ftrl(const char *table, const Anthill__OptimizerSpec *spec,
                              struct error *error)
{
    /* Steps are divided by both. */
    if (spec->rate == 0) return refuse(table, "rate", spec->rate, "more than 0", error);
    if (spec->ftrl_beta == 0) {
        return refuse(table, "ftrl_beta", spec->ftrl_beta, "more than 0", error);
    }
    if (spec->weight_decay != 0) {
        return refuse(table, "weight_decay", spec->weight_decay, "0 (ftrl has l2 in its place)",
                      error);
    }
    return STATUS_OK;
}

static enum status check_optimizer(const char *table, const Anthill__OptimizerSpec *spec,
                                   struct error *error)
{
    if (spec == NULL) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": optimizer is missing", table);
    }
    enum status status = check_numbers(table, spec, error);
    if (status == STATUS_OK) status = check_schedule(table, spec, error);
    if (status != STATUS_OK) return status;
    switch (spec->kind) {
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD:
        return STATUS_OK;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_MOMENTUM:
        if (spec->momentum < 1) return STATUS_OK;
        return refuse(table, "momentum", spec->momentum, "a number in [0, 1)", error);
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL:
        return check_ftrl(table, spec, error);
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAM:
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAMW:
        if (spec->beta1 >= 1 || spec->beta2 >= 1) {
            return error_set(error, STATUS_CONFIG,
                             "table \"%s\": beta1 %g and beta2 %g; each in [0, 1) expected", table,
                             (double)spec->beta1, (double)spec->beta2);
        }
        break;
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD:
    case ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ROWWISE_ADAGRAD:
        break;
    default:
        return error_set(error, STATUS_CONFIG, "table \"%s\": optimizer %u is unknown", table,
                         (unsigned)spec->kind);
    }
    /* Where a squared gradient is 0, epsilon alone keeps the step finite. */
    if (spec->epsilon > 0) return STATUS_OK;
    return refuse(table, "epsilon", spec->epsilon, "more than 0", error);
}

static uint64_t tensor_floats(const Anthill__TensorSpec *tensor)
{
    return (uint64_t)tensor->rows * tensor->cols;
}

static enum status check_tensor(const char *table, const Anthill__TensorSpec *tensor,
                                struct error *error)
{
    if (!is_name(tensor->name)) {
        return error_set(error, STATUS_CONFIG,
                         "table \"%s\": a tensor's name is empty, too long or not plain text",
                         table);
    }
    if (tensor_floats(tensor) == 0) {
        return error_set(error, STATUS_CONFIG,
                         "table \"%s\": tensor \"%s\" is %u by %u; at least 1 by 1 expected", table,
                         tensor->name, tensor->rows, tensor->cols);
    }
    if (!is_not_negative(tensor->weight_decay)) {
        return error_set(error, STATUS_CONFIG,
                         "table \"%s\": tensor \"%s\": weight_decay %g; 0 or more expected", table,
                         tensor->name, (double)tensor->weight_decay);
    }
    return check_init(table, tensor->name, tensor->init, tensor->init_scale, error);
}

static enum status check_tensors(const Anthill__TableSpec *spec, struct error *error)
{
    if (spec->n_tensors == 0 || spec->n_tensors > TABLE_TENSORS_MAX) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": %zu tensors; 1 to %u expected",
                         spec->name, spec->n_tensors, TABLE_TENSORS_MAX);
    }
    uint64_t floats = 0;
    for (size_t t = 0; t < spec->n_tensors; t++) {
        enum status status = check_tensor(spec->name, spec->tensors[t], error);
        if (status != STATUS_OK) return status;
        if (is_ftrl(spec->optimizer) && spec->tensors[t]->weight_decay != 0) {
            return error_set(error, STATUS_CONFIG,
                             "table \"%s\": tensor \"%s\": weight_decay %g, but ftrl has l2 in its "
                             "place; 0 expected",
                             spec->name, spec->tensors[t]->name,
                             (double)spec->tensors[t]->weight_decay);
        }
        uint64_t more = tensor_floats(spec->tensors[t]);
        if (more > DENSE_FLOATS_MAX - floats) {
            return error_set(error, STATUS_CONFIG,
                             "table \"%s\": tensors up to \"%s\" have more than %" PRIu64
                             " floats together",
                             spec->name, spec->tensors[t]->name, DENSE_FLOATS_MAX);
        }
        floats += more;
    }
    return STATUS_OK;
}

/* Dense tables have no rows that come and go. */
static enum status check_dense(const Anthill__TableSpec *spec, struct error *error)
{
    const struct {
        const char *field;
        bool set;
    } fields[] = {
        {"storage", spec->storage != ANTHILL__STORAGE_KIND__STORAGE_F32},
        {"admit_after", spec->admit_after != 0},
        {"evict", spec->evict != ANTHILL__EVICT_KIND__EVICT_NONE},
        {"evict_seconds", spec->evict_seconds != 0},
        {"bytes_max", spec->bytes_max != 0},
        {"versioned", spec->versioned},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (fields[i].set) {
            return error_set(error, STATUS_CONFIG,
                             "table \"%s\": %s is set, which sparse tables alone have", spec->name,
                             fields[i].field);
        }
    }
    return check_tensors(spec, error);
}

/* What a sparse row takes at least: values, optimizer state and an index entry. */
static uint64_t row_bytes(const Anthill__TableSpec *spec)
{
    struct optimizer optimizer = optimizer_make(spec->optimizer);
    bool narrow = spec->storage == ANTHILL__STORAGE_KIND__STORAGE_BF16;
    return (uint64_t)spec->dim * (narrow ? sizeof(uint16_t) : sizeof(float)) +
           optimizer_state_floats(&optimizer, spec->dim) * sizeof(float) + 2 * sizeof(uint64_t);
}

/* Which rows a sparse table takes in, and which it lets go. */
static enum status check_room(const Anthill__TableSpec *spec, struct error *error)
{
    if (spec->admit_after > TABLE_ADMIT_MAX) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": admit_after %u; at most %u expected",
                         spec->name, spec->admit_after, TABLE_ADMIT_MAX);
    }
    if ((uint32_t)spec->evict > ANTHILL__EVICT_KIND__EVICT_SCORE) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": evict %u is unknown", spec->name,
                         (unsigned)spec->evict);
    }
    if (spec->evict != ANTHILL__EVICT_KIND__EVICT_NONE && spec->rows_max == 0 &&
        spec->bytes_max == 0 && spec->evict_seconds == 0) {
        return error_set(error, STATUS_CONFIG,
                         "table \"%s\": rows are to be evicted by %s, but rows_max, bytes_max and "
                         "evict_seconds are 0; one of them expected",
                         spec->name,
                         spec->evict == ANTHILL__EVICT_KIND__EVICT_AGE ? "age" : "score");
    }
    if (spec->evict == ANTHILL__EVICT_KIND__EVICT_SCORE && spec->evict_seconds != 0) {
        return error_set(error, STATUS_CONFIG,
                         "table \"%s\": evict by score and evict_seconds %u: a row keeps how often "
                         "it was used, or when; one of the two expected",
                         spec->name, spec->evict_seconds);
    }
    if (spec->bytes_max != 0 && spec->bytes_max < row_bytes(spec)) {
        return error_set(error, STATUS_CONFIG,
                         "table \"%s\": bytes_max %" PRIu64 " has no room for a row of %" PRIu64
                         " bytes",
                         spec->name, spec->bytes_max, row_bytes(spec));
    }
    return STATUS_OK;
}

static enum status check_sparse(const Anthill__TableSpec *spec, struct error *error)
{
    if (spec->dim == 0 || spec->dim > TABLE_DIM_MAX) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": dim %u; 1 to %u expected", spec->name,
                         spec->dim, TABLE_DIM_MAX);
    }
    if ((uint32_t)spec->storage > ANTHILL__STORAGE_KIND__STORAGE_BF16) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": storage %u is unknown", spec->name,
                         (unsigned)spec->storage);
    }
    enum status status = check_room(spec, error);
    if (status != STATUS_OK) return status;
    return check_init(spec->name, "rows", spec->init, spec->init_scale, error);
}

enum status table_spec_check(const Anthill__TableSpec *spec, struct error *error)
{
    if (!is_name(spec->name)) {
        return error_set(error, STATUS_CONFIG,
                         "a table's name is empty, longer than %d bytes or not plain text",
                         TABLE_NAME_BYTES_MAX);
    }
    size_t bytes = anthill__table_spec__get_packed_size(spec);
    if (bytes > TABLE_SPEC_BYTES_MAX) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": a spec of %zu bytes; at most %u fit",
                         spec->name, bytes, TABLE_SPEC_BYTES_MAX);
    }
    enum status status = check_optimizer(spec->name, spec->optimizer, error);
    if (status != STATUS_OK) return status;
    if ((uint32_t)spec->consistency > ANTHILL__CONSISTENCY_MODE__CONSISTENCY_BSP) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": consistency %u is unknown",
                         spec->name, (unsigned)spec->consistency);
    }
    if (spec->compensate && spec->consistency == ANTHILL__CONSISTENCY_MODE__CONSISTENCY_BSP) {
        return error_set(error, STATUS_CONFIG,
                         "table \"%s\": compensate, but in bsp no gradient is stale", spec->name);
    }
    switch (spec->kind) {
    case ANTHILL__TABLE_KIND__TABLE_DENSE:
        return check_dense(spec, error);
    case ANTHILL__TABLE_KIND__TABLE_SPARSE:
        return check_sparse(spec, error);
    default:
        return error_set(error, STATUS_CONFIG, "table \"%s\": kind %u is unknown", spec->name,
                         (unsigned)spec->kind);
    }
}

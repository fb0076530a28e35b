#include "ps/table_spec.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Floats of a dense table's tensors together: 16 GiB of weights. */
#define DENSE_FLOATS_MAX (UINT64_C(1) << 32)
#define NAME_BYTES_MAX   255

static bool is_name(const char *name)
{
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes > NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < bytes; i++) {
        if (name[i] < 0x20 || name[i] > 0x7e) return false;
    }
    return true;
}

static bool is_positive(float value)
{
    return isfinite(value) && value > 0;
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

static enum status check_optimizer(const char *table, const Anthill__OptimizerSpec *spec,
                                   struct error *error)
{
    if (spec == NULL) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": optimizer is missing", table);
    }
    if ((uint32_t)spec->kind > ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAM) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": optimizer %u is unknown", table,
                         (unsigned)spec->kind);
    }
    if (!is_not_negative(spec->rate)) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": rate %g; 0 or more expected", table,
                         (double)spec->rate);
    }
    if (!is_not_negative(spec->weight_decay)) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": weight_decay %g; 0 or more expected",
                         table, (double)spec->weight_decay);
    }
    /* Where a squared gradient is 0, epsilon alone keeps the step finite. */
    if (spec->kind != ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD && !is_positive(spec->epsilon)) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": epsilon %g; more than 0 expected",
                         table, (double)spec->epsilon);
    }
    if (spec->kind == ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAM &&
        !(is_not_negative(spec->beta1) && spec->beta1 < 1 && is_not_negative(spec->beta2) &&
          spec->beta2 < 1)) {
        return error_set(error, STATUS_CONFIG,
                         "table \"%s\": beta1 %g and beta2 %g; each in [0, 1) expected", table,
                         (double)spec->beta1, (double)spec->beta2);
    }
    return STATUS_OK;
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

enum status table_spec_check(const Anthill__TableSpec *spec, struct error *error)
{
    if (!is_name(spec->name)) {
        return error_set(error, STATUS_CONFIG,
                         "a table's name is empty, longer than %d bytes or not plain text",
                         NAME_BYTES_MAX);
    }
    enum status status = check_optimizer(spec->name, spec->optimizer, error);
    if (status != STATUS_OK) return status;
    if ((uint32_t)spec->consistency > ANTHILL__CONSISTENCY_MODE__CONSISTENCY_BSP) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": consistency %u is unknown",
                         spec->name, (unsigned)spec->consistency);
    }
    if (spec->kind == ANTHILL__TABLE_KIND__TABLE_DENSE) return check_tensors(spec, error);
    if (spec->kind != ANTHILL__TABLE_KIND__TABLE_SPARSE) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": kind %u is unknown", spec->name,
                         (unsigned)spec->kind);
    }
    if (spec->dim == 0 || spec->dim > TABLE_DIM_MAX) {
        return error_set(error, STATUS_CONFIG, "table \"%s\": dim %u; 1 to %u expected", spec->name,
                         spec->dim, TABLE_DIM_MAX);
    }
    return check_init(spec->name, "rows", spec->init, spec->init_scale, error);
}

/* Names the first number that differs; `of` is empty or `tensor "name" `. */
static enum status compare_number(const char *table, const char *of, const char *field, double left,
                                  double right, struct error *error)
{
    if (left == right) return STATUS_OK;
    return error_set(error, STATUS_CONFIG, "table \"%s\": %s%s differs: %.9g and %.9g", table, of,
                     field, left, right);
}

struct number_pair {
    const char *field;
    double left, right;
};

static enum status compare_numbers(const char *table, const char *of,
                                   const struct number_pair *pairs, size_t count,
                                   struct error *error)
{
    for (size_t i = 0; i < count; i++) {
        enum status status =
            compare_number(table, of, pairs[i].field, pairs[i].left, pairs[i].right, error);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

static enum status compare_tensor(const char *table, const Anthill__TensorSpec *left,
                                  const Anthill__TensorSpec *right, struct error *error)
{
    if (strcmp(left->name, right->name) != 0) {
        return error_set(error, STATUS_CONFIG,
                         "table \"%s\": a tensor's name differs: \"%s\" and \"%s\"", table,
                         left->name, right->name);
    }
    char of[NAME_BYTES_MAX + 16];
    snprintf(of, sizeof of, "tensor \"%s\": ", left->name);
    const struct number_pair pairs[] = {
        {"rows", left->rows, right->rows},
        {"cols", left->cols, right->cols},
        {"init", left->init, right->init},
        {"init_scale", (double)left->init_scale, (double)right->init_scale},
        {"weight_decay", (double)left->weight_decay, (double)right->weight_decay},
    };
    return compare_numbers(table, of, pairs, sizeof pairs / sizeof *pairs, error);
}

enum status table_spec_compare(const Anthill__TableSpec *left, const Anthill__TableSpec *right,
                               struct error *error)
{
    if (strcmp(left->name, right->name) != 0) {
        return error_set(error, STATUS_CONFIG, "table names differ: \"%s\" and \"%s\"", left->name,
                         right->name);
    }
    /* Whole numbers that a double cannot hold. */
    if (left->seed != right->seed || left->rows_max != right->rows_max) {
        bool seed = left->seed != right->seed;
        return error_set(error, STATUS_CONFIG, "table \"%s\": %s differs: %" PRIu64 " and %" PRIu64,
                         left->name, seed ? "seed" : "rows_max", seed ? left->seed : left->rows_max,
                         seed ? right->seed : right->rows_max);
    }
    const Anthill__OptimizerSpec *a = left->optimizer, *b = right->optimizer;
    const struct number_pair pairs[] = {
        {"kind", left->kind, right->kind},
        {"dim", left->dim, right->dim},
        {"init", left->init, right->init},
        {"init_scale", (double)left->init_scale, (double)right->init_scale},
        {"optimizer kind", a->kind, b->kind},
        {"optimizer rate", (double)a->rate, (double)b->rate},
        {"optimizer beta1", (double)a->beta1, (double)b->beta1},
        {"optimizer beta2", (double)a->beta2, (double)b->beta2},
        {"optimizer epsilon", (double)a->epsilon, (double)b->epsilon},
        {"optimizer weight_decay", (double)a->weight_decay, (double)b->weight_decay},
        {"consistency", left->consistency, right->consistency},
        {"staleness", left->staleness, right->staleness},
        {"number of tensors", (double)left->n_tensors, (double)right->n_tensors},
    };
    enum status status =
        compare_numbers(left->name, "", pairs, sizeof pairs / sizeof *pairs, error);
    for (size_t t = 0; status == STATUS_OK && t < left->n_tensors; t++) {
        status = compare_tensor(left->name, left->tensors[t], right->tensors[t], error);
    }
    return status;
}

Anthill__TableSpec *table_spec_copy(const Anthill__TableSpec *spec)
{
    size_t bytes = anthill__table_spec__get_packed_size(spec);
    uint8_t *packed = malloc(bytes + 1);
    if (packed == NULL) return NULL;
    anthill__table_spec__pack(spec, packed);
    Anthill__TableSpec *copy = anthill__table_spec__unpack(NULL, bytes, packed);
    free(packed);
    return copy;
}

static uint32_t tensor_chunks(const Anthill__TensorSpec *tensor)
{
    return (uint32_t)((tensor_floats(tensor) + DENSE_CHUNK - 1) / DENSE_CHUNK);
}

uint32_t table_spec_row_floats(const Anthill__TableSpec *spec, uint64_t key)
{
    if (spec->kind == ANTHILL__TABLE_KIND__TABLE_SPARSE) return spec->dim;
    uint64_t tensor = key >> 32, begin = (key & UINT32_MAX) * DENSE_CHUNK;
    if (tensor >= spec->n_tensors) return 0;
    uint64_t floats = tensor_floats(spec->tensors[tensor]);
    if (begin >= floats) return 0;
    return floats - begin < DENSE_CHUNK ? (uint32_t)(floats - begin) : DENSE_CHUNK;
}

uint64_t table_spec_floats(const Anthill__TableSpec *spec)
{
    uint64_t floats = 0;
    for (size_t t = 0; t < spec->n_tensors; t++)
        floats += tensor_floats(spec->tensors[t]);
    return floats;
}

uint32_t table_spec_chunks(const Anthill__TableSpec *spec)
{
    uint32_t chunks = 0;
    for (size_t t = 0; t < spec->n_tensors; t++)
        chunks += tensor_chunks(spec->tensors[t]);
    return chunks;
}

void table_spec_chunk_keys(const Anthill__TableSpec *spec, uint64_t *keys)
{
    for (uint64_t t = 0; t < spec->n_tensors; t++) {
        uint32_t chunks = tensor_chunks(spec->tensors[t]);
        for (uint64_t chunk = 0; chunk < chunks; chunk++)
            *keys++ = t << 32 | chunk;
    }
}

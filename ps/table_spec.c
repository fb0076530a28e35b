#include "ps/table_spec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t tensor_floats(const Anthill__TensorSpec *tensor)
{
    return (uint64_t)tensor->rows * tensor->cols;
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
    char of[TABLE_NAME_BYTES_MAX + 16];
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
    const Anthill__OptimizerSpec *a = left->optimizer, *b = right->optimizer;
    /* Whole numbers that a double may not hold. */
    const struct {
        const char *field;
        uint64_t left, right;
    } wholes[] = {
        {"seed", left->seed, right->seed},
        {"rows_max", left->rows_max, right->rows_max},
        {"bytes_max", left->bytes_max, right->bytes_max},
        {"optimizer warmup_clocks", a->warmup_clocks, b->warmup_clocks},
        {"optimizer total_clocks", a->total_clocks, b->total_clocks},
    };
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
        if (wholes[i].left != wholes[i].right) {
            return error_set(error, STATUS_CONFIG,
                             "table \"%s\": %s differs: %" PRIu64 " and %" PRIu64, left->name,
                             wholes[i].field, wholes[i].left, wholes[i].right);
        }
    }
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
        {"optimizer momentum", (double)a->momentum, (double)b->momentum},
        {"optimizer l1", (double)a->l1, (double)b->l1},
        {"optimizer l2", (double)a->l2, (double)b->l2},
        {"optimizer ftrl_beta", (double)a->ftrl_beta, (double)b->ftrl_beta},
        {"optimizer clip_value", (double)a->clip_value, (double)b->clip_value},
        {"optimizer clip_norm", (double)a->clip_norm, (double)b->clip_norm},
        {"optimizer schedule", a->schedule, b->schedule},
        {"optimizer rate_final", (double)a->rate_final, (double)b->rate_final},
        {"consistency", left->consistency, right->consistency},
        {"staleness", left->staleness, right->staleness},
        {"compensate", left->compensate, right->compensate},
        {"storage", left->storage, right->storage},
        {"admit_after", left->admit_after, right->admit_after},
        {"evict", left->evict, right->evict},
        {"evict_seconds", left->evict_seconds, right->evict_seconds},
        {"versioned", left->versioned, right->versioned},
        {"number of tensors", (double)left->n_tensors, (double)right->n_tensors},
    };
    enum status status =
        compare_numbers(left->name, "", pairs, sizeof pairs / sizeof *pairs, error);
    for (size_t t = 0; status == STATUS_OK && t < left->n_tensors; t++) {
        status = compare_tensor(left->name, left->tensors[t], right->tensors[t], error);
    }
    return status;
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

#include "ps/gradient_sums.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ps/optimizer.h"
#include "ps/table_spec.h"

/* A push into the table takes so many keys, or fewer when their rows are long. */
#define APPLY_KEYS   4096u
#define APPLY_FLOATS (1u << 20)

/* Keys and gradients side by side, as table_push takes them. */
struct apply_buffer {
    uint64_t keys[APPLY_KEYS];
    uint32_t key_count;
    uint64_t float_count;
    float grads[APPLY_FLOATS];
};

/* Its arrays are written before they are read. returns owned; NULL when memory is used up */
static struct apply_buffer *buffer_create(void)
{
    struct apply_buffer *buffer = malloc(sizeof *buffer);
    if (buffer != NULL) buffer->key_count = 0;
    if (buffer != NULL) buffer->float_count = 0;
    return buffer;
}

static void clock_deinit(struct clock_sums *clock)
{
    for (uint32_t i = 0; i < clock->count; i++)
        free(clock->sums[i].sum);
    free(clock->sums);
    table_index_deinit(&clock->index);
}

void gradient_sums_deinit(struct gradient_sums *sums)
{
    for (uint32_t i = 0; i < sums->count; i++)
        clock_deinit(&sums->clocks[i]);
    free(sums->clocks);
    free(sums->buffer);
    *sums = (struct gradient_sums){0};
}

static enum status find_clock(struct gradient_sums *sums, uint64_t number,
                              struct clock_sums **clock, struct error *error)
{
    uint32_t place = 0;
    while (place < sums->count && sums->clocks[place].clock < number)
        place++;
    if (place < sums->count && sums->clocks[place].clock == number) {
        *clock = &sums->clocks[place];
        return STATUS_OK;
    }
    if (sums->count == GRADIENT_CLOCKS_MAX) {
        return error_set(error, STATUS_BUSY,
                         "gradients of clock %" PRIu64 ": those of %u clocks wait already", number,
                         sums->count);
    }
    if (sums->clocks == NULL) sums->clocks = calloc(GRADIENT_CLOCKS_MAX, sizeof *sums->clocks);
    if (sums->buffer == NULL) sums->buffer = buffer_create();
    struct table_index index;
    if (sums->clocks == NULL || sums->buffer == NULL || table_index_init(&index) != STATUS_OK) {
        return error_set(error, STATUS_NOMEM, "no memory for the sums of a clock");
    }
    *clock = &sums->clocks[place];
    memmove(*clock + 1, *clock, (sums->count - place) * sizeof **clock);
    **clock = (struct clock_sums){.clock = number, .index = index};
    sums->count++;
    return STATUS_OK;
}

static struct gradient_sum *find_sum(const struct clock_sums *clock, uint64_t key)
{
    const struct index_entry *entry = table_index_find(&clock->index, key, table_index_hash(key));
    return entry == NULL ? NULL : &clock->sums[entry->row_plus_one - 1];
}

/* A sum of zeros under `key`, which is not there. */
static enum status add_sum(struct clock_sums *clock, uint64_t key, uint32_t floats)
{
    if (clock->count == clock->capacity) {
        uint32_t capacity = clock->capacity == 0 ? 256 : clock->capacity * 2;
        struct gradient_sum *sums = realloc(clock->sums, capacity * sizeof *sums);
        if (sums == NULL) return STATUS_NOMEM;
        clock->sums = sums;
        clock->capacity = capacity;
    }
    float *sum = calloc(floats, sizeof *sum);
    if (sum == NULL) return STATUS_NOMEM;
    if (table_index_add(&clock->index, key, clock->count, 0) != STATUS_OK) {
        free(sum);
        return STATUS_NOMEM;
    }
    clock->sums[clock->count++] = (struct gradient_sum){.key = key, .sum = sum, .floats = floats};
    return STATUS_OK;
}

enum status gradient_sums_add(struct gradient_sums *sums, const struct table *table, uint64_t clock,
                              float rate_scale, const uint64_unaligned *keys, uint32_t key_count,
                              const float_unaligned *grads, struct error *error)
{
    const Anthill__TableSpec *spec = table_spec(table);
    struct clock_sums *into = NULL;
    enum status status = find_clock(sums, clock, &into, error);
    if (status != STATUS_OK) return error_wrap(error, status, "table \"%s\"", spec->name);
    table_index_move(&into->index, 1024 + 4 * (uint64_t)key_count);
    for (uint32_t i = 0; i < key_count; i++) {
        if (find_sum(into, keys[i]) != NULL) continue;
        status = add_sum(into, keys[i], table_spec_row_floats(spec, keys[i]));
        if (status != STATUS_OK) {
            return error_set(error, status,
                             "table \"%s\": no memory for the sums of clock %" PRIu64, spec->name,
                             clock);
        }
    }
    for (uint32_t i = 0; i < key_count; i++) {
        struct gradient_sum *sum = find_sum(into, keys[i]);
        floats_add(sum->sum, grads, sum->floats);
        sum->used = true;
        grads += sum->floats;
    }
    if (rate_scale > into->rate_scale) into->rate_scale = rate_scale;
    return STATUS_OK;
}

static int compare_keys(const void *left, const void *right)
{
    uint64_t a = ((const struct gradient_sum *)left)->key;
    uint64_t b = ((const struct gradient_sum *)right)->key;
    return (a > b) - (a < b);
}

/* Returns the number of keys that could not be pushed. */
static uint64_t flush(struct apply_buffer *buffer, struct table *table,
                      const struct clock_sums *clock)
{
    if (buffer->key_count == 0) return 0;
    const struct row_source source = {.rows = buffer->grads};
    enum status status = table_push_from(table, buffer->keys, buffer->key_count, &source,
                                         clock->rate_scale, clock->clock, NULL);
    uint64_t dropped = status == STATUS_OK ? 0 : buffer->key_count;
    buffer->key_count = 0;
    buffer->float_count = 0;
    return dropped;
}

static uint64_t apply_clock(struct clock_sums *clock, struct table *table,
                            struct apply_buffer *buffer)
{
    uint64_t dropped = 0;
    qsort(clock->sums, clock->count, sizeof *clock->sums, compare_keys);
    for (uint32_t i = 0; i < clock->count; i++) {
        const struct gradient_sum *sum = &clock->sums[i];
        if (!sum->used) continue;
        if (!floats_finite(sum->sum, sum->floats)) {
            dropped++;
            continue;
        }
        if (buffer->key_count == APPLY_KEYS || buffer->float_count + sum->floats > APPLY_FLOATS) {
            dropped += flush(buffer, table, clock);
        }
        memcpy(buffer->grads + buffer->float_count, sum->sum, sum->floats * sizeof *sum->sum);
        buffer->keys[buffer->key_count++] = sum->key;
        buffer->float_count += sum->floats;
    }
    return dropped + flush(buffer, table, clock);
}

bool gradient_sums_due(const struct gradient_sums *sums, uint64_t clock)
{
    return sums->count > 0 && (sums->clocks[0].clock < clock || clock == UINT64_MAX);
}

static void drop_first(struct gradient_sums *sums)
{
    clock_deinit(&sums->clocks[0]);
    memmove(sums->clocks, sums->clocks + 1, --sums->count * sizeof *sums->clocks);
}

void gradient_sums_drop(struct gradient_sums *sums, uint64_t clock)
{
    while (gradient_sums_due(sums, clock))
        drop_first(sums);
}

uint64_t gradient_sums_apply(struct gradient_sums *sums, struct table *table, uint64_t clock)
{
    uint64_t dropped = 0;
    while (gradient_sums_due(sums, clock)) {
        dropped += apply_clock(&sums->clocks[0], table, sums->buffer);
        drop_first(sums);
    }
    return dropped;
}

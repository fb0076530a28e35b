#include "ps/admission.h"

#include <stddef.h>

#include "common/rng.h"
#include "ps/pages.h"

#define ADMISSION_ROWS    2u
#define ADMISSION_COLUMNS (1u << 21)
/* Two sightings a counter: a key that was never seen then counts 1 with a chance of about 0.75, and
 * more hardly ever. */
#define SIGHTINGS_HALVE (2 * (uint64_t)ADMISSION_COLUMNS)

static const size_t counter_bytes = (size_t)ADMISSION_ROWS * ADMISSION_COLUMNS;

enum status admission_init(struct admission *admission)
{
    *admission = (struct admission){.counters = pages_alloc(counter_bytes)};
    return admission->counters == NULL ? STATUS_NOMEM : STATUS_OK;
}

void admission_deinit(struct admission *admission)
{
    pages_free(admission->counters, counter_bytes);
    *admission = (struct admission){0};
}

uint64_t admission_bytes(const struct admission *admission)
{
    return admission->counters == NULL ? 0 : counter_bytes;
}

static void halve(struct admission *admission)
{
    for (size_t i = 0; i < counter_bytes; i++)
        admission->counters[i] >>= 1;
    admission->sightings = 0;
}

uint32_t admission_sight(struct admission *admission, uint64_t hash)
{
    uint8_t *counters[ADMISSION_ROWS];
    uint32_t count = ADMISSION_SIGHTINGS_MAX;
    if (++admission->sightings > SIGHTINGS_HALVE) halve(admission);
    for (uint32_t row = 0; row < ADMISSION_ROWS; row++) {
        uint64_t column = rng_mix(hash + row) % ADMISSION_COLUMNS;
        counters[row] = &admission->counters[(size_t)row * ADMISSION_COLUMNS + column];
        if (*counters[row] < count) count = *counters[row];
    }
    if (count == ADMISSION_SIGHTINGS_MAX) return count;
    count++;
    for (uint32_t row = 0; row < ADMISSION_ROWS; row++) {
        if (*counters[row] < count) *counters[row] = (uint8_t)count;
    }
    return count;
}

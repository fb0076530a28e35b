/* How often a key without a row was seen: a row is worth its memory only from the k-th sighting on.
 * A count-min sketch of 8-bit counters that are halved now and then, so that old sightings fade: it
 * never undercounts what it still remembers, and overcounts rarely. Pure.
 *   source   Cormode and Muthukrishnan 2005; conservative update: Estan and Varghese 2002 */
#ifndef ANTHILL_PS_ADMISSION_H
#define ANTHILL_PS_ADMISSION_H

#include <stdint.h>

#include "common/status.h"

#define ADMISSION_SIGHTINGS_MAX 255u

struct admission {
    uint8_t *counters;  /* [ADMISSION_ROWS, ADMISSION_COLUMNS] */
    uint64_t sightings; /* since they were halved */
};

/*   errors   STATUS_NOMEM */
enum status admission_init(struct admission *admission) MUST_CHECK;
void admission_deinit(struct admission *admission); /* zeroed: nothing */

/* Counts a sighting of the key whose hash is `hash`; returns how many there were, this one
 * included, at most ADMISSION_SIGHTINGS_MAX. */
uint32_t admission_sight(struct admission *admission, uint64_t hash);

uint64_t admission_bytes(const struct admission *admission);

#endif

/* The coordinator's state as bytes, for one small file: a fixed header (magic, version, length,
 * XXH3 checksum) and a packed CoordinatorState (common/wire.proto). Pure.
 *
 *     offset  0  "ANTHCRD1"           16  u64 length of what follows the header
 *             8  u32 version, u32 0   24  u64 XXH3-64 of it */
#ifndef ANTHILL_PS_COORDINATOR_STATE_H
#define ANTHILL_PS_COORDINATOR_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "ps/coordinator.h"

#define COORDINATOR_STATE_BYTES_MAX (64u << 20)

/* Leases that are held are not part of it: after a restart workers say which they hold.
 *   owner    *data is returned owned; free() */
void coordinator_state_pack(const struct coordinator *coordinator, uint8_t **data, size_t *bytes);

/* A coordinator that goes on from `data`.
 *   errors   STATUS_CORRUPT saying what is wrong with the bytes; STATUS_CONFIG when the options are
 *            of a run that cannot be this one
 *   owner    returns owned; coordinator_destroy */
enum status coordinator_state_unpack(struct coordinator **coordinator,
                                     const struct coordinator_options *options, uint64_t now_ns,
                                     const uint8_t *data, size_t bytes,
                                     struct error *error) MUST_CHECK;

#endif

/* Looks through a whole graph folder: what opening leaves out because it would read everything. */
#ifndef ANTHILL_GRAPH_GRAPH_CHECK_H
#define ANTHILL_GRAPH_GRAPH_CHECK_H

#include "common/error.h"

/* Sizes and checksums of all files, then every number in them: rows in order, indices, types,
 * labels, columns and offsets in range, halo nodes sorted and outside, ids of nodes different.
 *   errors   STATUS_NOT_FOUND, STATUS_CORRUPT with the file and the reason; STATUS_STOPPED */
enum status graph_check(const char *path, struct error *error) MUST_CHECK;

#endif

/* Where a walk over the keys of a table stands. */
#ifndef ANTHILL_PS_CLIENT_CLIENT_SCAN_H
#define ANTHILL_PS_CLIENT_CLIENT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialised is before the first key. */
struct client_scan {
    uint32_t shard;  /* the one being walked */
    uint64_t cursor; /* there */
    bool ended;      /* there are no more */
};

#endif

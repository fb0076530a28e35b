/* The two clocks of a process. State machines do not call these: time is handed to them. */
#ifndef ANTHILL_COMMON_CLOCK_H
#define ANTHILL_COMMON_CLOCK_H

#include <stdint.h>

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

/* Nanoseconds since an arbitrary point; never goes back. */
uint64_t clock_now_ns(void);

/* Nanoseconds since 1970-01-01 UTC. */
uint64_t clock_wall_ns(void);

#endif

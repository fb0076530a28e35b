/* The last 64 sequence numbers of a session that were done: tells a repeat from a first time, in
 * any order of arrival within the window. A sequence below the window counts as repeated, because a
 * client has no more than 64 unacknowledged ones. Pure.
 *
 *     sequences done: 1 2 3 5     highest 5, bits ...0001 0111 (bit i: highest - i) */
#ifndef ANTHILL_PS_PUSH_WINDOW_H
#define ANTHILL_PS_PUSH_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define PUSH_WINDOW 64u

/* Zero-initialised is empty; sequences begin at 1. */
struct push_window {
    uint64_t highest;
    uint64_t bits;
};

static inline bool push_window_contains(const struct push_window *window, uint64_t sequence)
{
    if (sequence > window->highest) return false;
    uint64_t age = window->highest - sequence;
    return age >= PUSH_WINDOW || (window->bits >> age & 1) != 0;
}

/* Of a window that is empty: all sequences below `first` count as done. */
void push_window_begin(struct push_window *window, uint64_t first);

/* sequence > 0 */
void push_window_add(struct push_window *window, uint64_t sequence);

#endif

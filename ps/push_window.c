#include "ps/push_window.h"

void push_window_begin(struct push_window *window, uint64_t first)
{
    if (first > 1) *window = (struct push_window){.highest = first - 1, .bits = UINT64_MAX};
}

void push_window_add(struct push_window *window, uint64_t sequence)
{
    if (sequence > window->highest) {
        uint64_t step = sequence - window->highest;
        window->bits = step >= PUSH_WINDOW ? 0 : window->bits << step;
        window->highest = sequence;
    }
    uint64_t age = window->highest - sequence;
    if (age < PUSH_WINDOW) window->bits |= UINT64_C(1) << age;
}

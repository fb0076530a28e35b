/* How far a command that moves rows is, for a person: one line redrawn in place on a terminal, a
 * line every few seconds elsewhere.
 * thread: the one that began it. */
#ifndef ANTHILL_PS_TRANSFER_H
#define ANTHILL_PS_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "ps/progress.h"

struct transfer {
    int descriptor;
    bool redraws, drawn;
    const char *done_to; /* "rows exported" */
    uint64_t total, done;
    uint64_t start_ns, drawn_ns;
    struct progress_rate rate;
};

/* Begins a transfer of about `total` rows; `done_to` (borrowed) says what is done to them.
 * descriptor    where to write; -1: nowhere */
void transfer_begin(struct transfer *transfer, const char *done_to, uint64_t total, int descriptor);

/* So many more rows are through. */
void transfer_add(struct transfer *transfer, uint64_t rows);

/* Takes the line away. Returns the seconds since the beginning. */
double transfer_end(struct transfer *transfer);

/* "4.2M of 10.0M rows exported  42%  2.1M rows/s  0:03 left". Pure. */
void transfer_format(const struct transfer *transfer, struct text *text);

#endif

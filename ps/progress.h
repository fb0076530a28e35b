/* How far a run is, for a person: one line redrawn in place on a terminal, plain lines elsewhere.
 * thread: the one that created it. */
#ifndef ANTHILL_PS_PROGRESS_H
#define ANTHILL_PS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/text.h"
#include "ps/coordinator.h"

enum progress_mode { PROGRESS_AUTO, PROGRESS_BAR, PROGRESS_LINES, PROGRESS_NONE };

/* Seeds per second over the last ten seconds or so. Zero-initialised is empty. */
struct progress_rate {
    uint64_t seeds[16], time_ns[16];
    uint32_t count;
    double per_second;
};

/* Notes how far the run is at `now_ns`. Pure. */
void progress_rate_add(struct progress_rate *rate, uint64_t now_ns, uint64_t seeds);

/* "950", "12.3k", "4.0M"; "0:07", "1:02:30". */
void progress_add_count(struct text *text, double value);
void progress_add_time(struct text *text, double seconds);

/* "cora  epoch 12/200  [=====>      ]  43%  12.3k seeds/s  0:07 left  loss 0.412  valid/accuracy
 * 0.7980", cut to `columns` characters; without the bar when `bar` is false. Pure. */
void progress_format(const struct coordinator_view *view, const struct progress_rate *rate,
                     bool bar, unsigned columns, struct text *text);

struct progress;

/* Writes to `descriptor`. PROGRESS_AUTO is a bar on a terminal, else lines.
 *   owner    returns owned; progress_destroy */
struct progress *progress_create(enum progress_mode mode, int descriptor);
void progress_destroy(struct progress *progress);

/* Draws when it is time to: a bar at most 10 times a second; a line after an evaluation, at most
 * one a second, and at least every 10 s. `last` draws in any case and ends the line. */
void progress_update(struct progress *progress, uint64_t now_ns,
                     const struct coordinator_view *view, bool last);

/* Takes the bar away, so that other text can be written; the next update draws it again. */
void progress_clear(struct progress *progress);

#endif

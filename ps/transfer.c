#include "ps/transfer.h"

#include <math.h>
#include <unistd.h>

#include "common/clock.h"

#define REDRAW_NS (100 * NS_PER_MS)
#define LINE_NS   (5 * NS_PER_S)

void transfer_begin(struct transfer *transfer, const char *done_to, uint64_t total, int descriptor)
{
    *transfer = (struct transfer){.descriptor = descriptor, .done_to = done_to, .total = total};
    transfer->redraws = descriptor >= 0 && isatty(descriptor) == 1;
    transfer->start_ns = transfer->drawn_ns = clock_now_ns();
    progress_rate_add(&transfer->rate, transfer->start_ns, 0);
}

void transfer_format(const struct transfer *transfer, struct text *text)
{
    double done = (double)transfer->done, total = (double)transfer->total;
    double per_second = transfer->rate.per_second;
    progress_add_count(text, done);
    text_add(text, " of ");
    /* Rows may have come into being since they were counted. */
    progress_add_count(text, total > done ? total : done);
    text_add(text, " %s  %.0f%%", transfer->done_to,
             total > done ? floor(100 * done / total) : 100);
    if (per_second <= 0) return;
    text_add(text, "  ");
    progress_add_count(text, per_second);
    text_add(text, " rows/s");
    if (done >= total) return;
    text_add(text, "  ");
    progress_add_time(text, (total - done) / per_second);
    text_add(text, " left");
}

static void put(const struct transfer *transfer, const struct text *text)
{
    /* Nothing fails because a terminal has gone. */
    if (write(transfer->descriptor, text->data, text->bytes) < 0) return;
}

void transfer_add(struct transfer *transfer, uint64_t rows)
{
    transfer->done += rows;
    uint64_t now_ns = clock_now_ns();
    progress_rate_add(&transfer->rate, now_ns, transfer->done);
    bool due = now_ns - transfer->drawn_ns >= (transfer->redraws ? REDRAW_NS : LINE_NS);
    if (transfer->descriptor < 0 || !due) return;
    struct text text = {0};
    if (transfer->redraws) text_add(&text, "\r");
    transfer_format(transfer, &text);
    text_add(&text, transfer->redraws ? "\033[K" : "\n");
    put(transfer, &text);
    text_deinit(&text);
    transfer->drawn_ns = now_ns;
    transfer->drawn = transfer->redraws;
}

double transfer_end(struct transfer *transfer)
{
    if (transfer->drawn) {
        struct text text = {0};
        text_add(&text, "\r\033[K");
        put(transfer, &text);
        text_deinit(&text);
    }
    transfer->drawn = false;
    return (double)(clock_now_ns() - transfer->start_ns) / (double)NS_PER_S;
}

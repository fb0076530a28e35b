#include "ps/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"

#define BAR_NS       (100 * NS_PER_MS)
#define LINE_NS      (10 * NS_PER_S)
#define RATE_STEP_NS (600 * NS_PER_MS) /* 16 of them are the window */
#define RATE_SLOTS   16
#define BAR_COLUMNS  24

struct progress {
    int descriptor;
    bool bar, none, drawn;
    uint64_t drawn_ns, evaluated_epoch;
    const char *phase;
    struct progress_rate rate;
};

void progress_rate_add(struct progress_rate *rate, uint64_t now_ns, uint64_t seeds)
{
    uint32_t newest = (rate->count + RATE_SLOTS - 1) % RATE_SLOTS;
    if (rate->count > 0 && now_ns - rate->time_ns[newest] < RATE_STEP_NS) return;
    rate->time_ns[rate->count % RATE_SLOTS] = now_ns;
    rate->seeds[rate->count % RATE_SLOTS] = seeds;
    rate->count++;
    uint32_t oldest = rate->count > RATE_SLOTS ? rate->count % RATE_SLOTS : 0;
    uint64_t elapsed_ns = now_ns - rate->time_ns[oldest];
    /* A lost lease may take seeds back. */
    double done = seeds > rate->seeds[oldest] ? (double)(seeds - rate->seeds[oldest]) : 0;
    rate->per_second = elapsed_ns > 0 ? done / ((double)elapsed_ns * 1e-9) : 0;
}

void progress_add_count(struct text *text, double value)
{
    if (value >= 1e6) {
        text_add(text, "%.1fM", value * 1e-6);
    } else if (value >= 1e4) {
        text_add(text, "%.1fk", value * 1e-3);
    } else {
        text_add(text, "%.0f", value);
    }
}

void progress_add_time(struct text *text, double seconds)
{
    if (seconds >= 359999) seconds = 359999;
    unsigned whole = (unsigned)(seconds + 0.5);
    if (whole >= 3600) {
        text_add(text, "%u:%02u:%02u", whole / 3600, whole / 60 % 60, whole % 60);
    } else {
        text_add(text, "%u:%02u", whole / 60, whole % 60);
    }
}

static void add_bar(struct text *text, double fraction)
{
    unsigned full = (unsigned)(fraction * BAR_COLUMNS);
    char bar[BAR_COLUMNS + 1];
    for (unsigned i = 0; i < BAR_COLUMNS; i++)
        bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    bar[BAR_COLUMNS] = '\0';
    text_add(text, "  [%s]", bar);
}

/* Says what is missing while the run has not begun. */
static void add_waiting(const struct coordinator_view *view, struct text *text)
{
    text_add(text, "  waiting: %u of %u shards ready, %u of %u workers", view->shards_ready,
             view->shards, view->workers, view->workers_expected);
}

void progress_format(const struct coordinator_view *view, const struct progress_rate *rate,
                     bool bar, unsigned columns, struct text *text)
{
    size_t start = text->bytes;
    text_add(text, "%s", view->name);
    if (!view->running) {
        add_waiting(view, text);
    } else {
        text_add(text, "  epoch %llu/%llu", (unsigned long long)view->epoch,
                 (unsigned long long)view->epochs);
        if (bar) add_bar(text, view->fraction);
        text_add(text, "  %.0f%%  ", floor(view->fraction * 100));
        progress_add_count(text, rate->per_second);
        text_add(text, " seeds/s  ");
        if (rate->per_second > 0 && view->fraction > 0 && view->fraction < 1) {
            double left = (double)view->seeds / view->fraction - (double)view->seeds;
            progress_add_time(text, left / rate->per_second);
            text_add(text, " left");
        } else {
            progress_add_time(text, view->seconds);
        }
        if (view->has_loss) text_add(text, "  loss %.4f", view->loss);
        if (view->has_best) text_add(text, "  best %s %.4f", view->best_name, view->best);
        if (strcmp(view->phase, "training") != 0) text_add(text, "  %s", view->phase);
    }
    if (text->bytes - start > columns) {
        text->bytes = start + columns;
        text->data[text->bytes] = '\0';
    }
}

struct progress *progress_create(enum progress_mode mode, int descriptor)
{
    struct progress *progress = calloc(1, sizeof *progress);
    CHECK(progress != NULL);
    progress->descriptor = descriptor;
    progress->none = mode == PROGRESS_NONE;
    progress->bar = mode == PROGRESS_BAR || (mode == PROGRESS_AUTO && isatty(descriptor) == 1);
    progress->phase = "";
    return progress;
}

static void put(const struct progress *progress, const struct text *text)
{
    /* Nobody is told less because a terminal has gone. */
    if (write(progress->descriptor, text->data, text->bytes) < 0) return;
}

void progress_clear(struct progress *progress)
{
    if (!progress->drawn) return;
    struct text text = {0};
    text_add(&text, "\r\033[K");
    put(progress, &text);
    text_deinit(&text);
    progress->drawn = false;
    progress->drawn_ns = 0;
}

void progress_destroy(struct progress *progress)
{
    if (progress == NULL) return;
    progress_clear(progress);
    free(progress);
}

static unsigned columns_of(const struct progress *progress)
{
    struct winsize size = {0};
    if (ioctl(progress->descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
        return size.ws_col - 1u;
    return 119;
}

static void draw(struct progress *progress, const struct coordinator_view *view, bool last)
{
    struct text text = {0};
    if (progress->bar) text_add(&text, "\r");
    unsigned columns = progress->bar ? columns_of(progress) + 1 : 4096;
    progress_format(view, &progress->rate, progress->bar, columns, &text);
    if (progress->bar) text_add(&text, "\033[K");
    if (last || !progress->bar) text_add(&text, "\n");
    put(progress, &text);
    text_deinit(&text);
    progress->drawn = progress->bar && !last;
}

void progress_update(struct progress *progress, uint64_t now_ns,
                     const struct coordinator_view *view, bool last)
{
    if (progress->none) return;
    if (view->running) progress_rate_add(&progress->rate, now_ns, view->seeds);
    uint64_t every_ns = progress->bar ? BAR_NS : LINE_NS;
    bool evaluated = !progress->bar && view->evaluated_epoch != progress->evaluated_epoch &&
                     now_ns - progress->drawn_ns >= NS_PER_S;
    bool due = progress->drawn_ns == 0 || now_ns - progress->drawn_ns >= every_ns;
    if (!last && !due && !evaluated) return;
    progress->evaluated_epoch = view->evaluated_epoch;
    progress->drawn_ns = now_ns;
    draw(progress, view, last);
}

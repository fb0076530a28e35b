/* What a shard tells the one that keeps its copy, and how a copy takes it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/checksum.h"
#include "ps/shard_state.h"
#include "ps/table_spec.h"

#define KEYS_AHEAD 16u

/* ---- the shard that serves ------------------------------------------------------------------ */

void shard_watch_tables(struct shard *shard)
{
    for (uint32_t i = 0; i < shard->table_count; i++) {
        struct shard_table *table = &shard->tables[i];
        table_watch(table->table, shard->log != NULL ? &table->events : NULL);
    }
}

void shard_log_changes(struct shard *shard, struct change_log *log)
{
    shard->log = log;
    shard->tables_logged = 0;
    for (uint32_t i = 0; i < shard->table_count; i++)
        shard->tables[i].events.count = 0;
    shard_watch_tables(shard);
}

static uint32_t number_of(const struct shard *shard, const struct shard_table *table)
{
    return (uint32_t)(table - shard->tables);
}

static Anthill__Change change_of(Anthill__ChangeKind kind)
{
    Anthill__Change change = ANTHILL__CHANGE__INIT;
    change.kind = kind;
    return change;
}

void shard_log_session(struct shard *shard, const struct session *session)
{
    if (shard->log == NULL) return;
    Anthill__Change change = change_of(ANTHILL__CHANGE_KIND__CHANGE_SESSION);
    change.session = session->id;
    change.window_highest = session->window.highest;
    change.window_bits = session->window.bits;
    change_log_put(shard->log, &change);
}

static void log_of_session(struct shard *shard, Anthill__ChangeKind kind, uint64_t session)
{
    if (shard->log == NULL) return;
    Anthill__Change change = change_of(kind);
    change.session = session;
    change_log_put(shard->log, &change);
}

void shard_log_session_gone(struct shard *shard, uint64_t session)
{
    log_of_session(shard, ANTHILL__CHANGE_KIND__CHANGE_SESSION_GONE, session);
}

void shard_log_leave(struct shard *shard, uint64_t session)
{
    log_of_session(shard, ANTHILL__CHANGE_KIND__CHANGE_LEAVE, session);
}

void shard_log_clock(struct shard *shard, uint64_t session)
{
    if (shard->log == NULL) return;
    Anthill__Change change = change_of(ANTHILL__CHANGE_KIND__CHANGE_CLOCK);
    change.session = session;
    change.clock = staleness_clock(&shard->staleness, session);
    change_log_put(shard->log, &change);
}

void shard_log_sums(struct shard *shard, const struct shard_table *table, const Anthill__Push *push,
                    const uint64_unaligned *keys, const float_unaligned *grads)
{
    if (shard->log == NULL) return;
    Anthill__Change change = change_of(ANTHILL__CHANGE_KIND__CHANGE_SUMS);
    change.table = number_of(shard, table);
    change.clock = push->clock;
    change.rate_scale = push->rate_scale;
    for (uint32_t i = 0; i < push->key_count; i++) {
        uint32_t floats = table_spec_row_floats(table_spec(table->table), keys[i]);
        change_log_key(shard->log, &change, keys[i], grads, floats);
        grads += floats;
    }
}

void shard_log_sums_applied(struct shard *shard, const struct shard_table *table, uint64_t clock)
{
    if (shard->log == NULL) return;
    Anthill__Change change = change_of(ANTHILL__CHANGE_KIND__CHANGE_SUMS_APPLIED);
    change.table = number_of(shard, table);
    change.clock = clock;
    change_log_put(shard->log, &change);
}

static void log_tables(struct shard *shard)
{
    for (; shard->tables_logged < shard->table_count; shard->tables_logged++) {
        struct shard_table *table = &shard->tables[shard->tables_logged];
        Anthill__Change change = change_of(ANTHILL__CHANGE_KIND__CHANGE_TABLE);
        change.table = shard->tables_logged;
        change.spec = (Anthill__TableSpec *)table_spec(table->table);
        change_log_put(shard->log, &change);
    }
}

static void log_events(struct shard *shard)
{
    for (uint32_t i = 0; i < shard->table_count; i++) {
        struct shard_table *table = &shard->tables[i];
        change_log_rows(shard->log, i, table->table, &table->events);
        table->events.count = 0;
    }
}

uint64_t shard_log_close(struct shard *shard)
{
    log_tables(shard);
    log_events(shard);
    return change_log_close(shard->log);
}

static void log_open_clock(struct shard *shard, uint32_t table, const struct clock_sums *clock)
{
    Anthill__Change change = change_of(ANTHILL__CHANGE_KIND__CHANGE_SUMS);
    change.table = table;
    change.clock = clock->clock;
    change.rate_scale = clock->rate_scale;
    for (uint32_t i = 0; i < clock->count; i++) {
        const struct gradient_sum *sum = &clock->sums[i];
        if (sum->used) change_log_key(shard->log, &change, sum->key, sum->sum, sum->floats);
    }
}

void shard_log_all(struct shard *shard)
{
    log_tables(shard);
    Anthill__Change change = change_of(ANTHILL__CHANGE_KIND__CHANGE_CLOCK_MIN);
    change.clock = shard->staleness.clock_min;
    change_log_put(shard->log, &change);
    /* The slowest first: who enters, enters where the slowest is. */
    for (unsigned others = 0; others < 2; others++) {
        for (uint32_t i = 0; i < shard->staleness.count; i++) {
            const struct trainer *trainer = &shard->staleness.trainers[i];
            bool slowest = trainer->clock == shard->staleness.clock_min;
            if (slowest == (others == 0)) shard_log_clock(shard, trainer->session);
        }
    }
    if (shard->sessions.expired_highest != 0)
        shard_log_session_gone(shard, shard->sessions.expired_highest);
    for (uint32_t i = 0; i < shard->sessions.count; i++)
        shard_log_session(shard, &shard->sessions.items[i]);
    for (uint32_t i = 0; i < shard->table_count; i++) {
        const struct gradient_sums *sums = &shard->tables[i].sums;
        for (uint32_t c = 0; c < sums->count; c++)
            log_open_clock(shard, i, &sums->clocks[c]);
    }
}

bool shard_log_rows(struct shard *shard, struct shard_walk *walk, uint32_t rows)
{
    if (walk->table >= shard->table_count) return true;
    struct row_events found = {0};
    const struct table *table = shard->tables[walk->table].table;
    walk->cursor = table_scan_rows(table, walk->cursor, &found, rows < 64 ? 64 : rows);
    change_log_rows(shard->log, walk->table, table, &found);
    row_events_deinit(&found);
    if (walk->cursor == 0) walk->table++;
    return walk->table == shard->table_count;
}

/* ---- the copy ------------------------------------------------------------------------------- */

void shard_set_copy(struct shard *shard, bool copy, struct outbox *outbox)
{
    shard->copy = copy;
    for (uint32_t i = 0; i < shard->table_count; i++)
        table_set_copy(shard->tables[i].table, copy);
    if (!copy) {
        shard_progress(shard, outbox);
        return;
    }
    /* Rows of a copy change without a cut's knowledge. */
    for (uint32_t i = 0; i < shard->table_count; i++) {
        table_cut_abandon(shard->tables[i].table);
        gradient_ages_forget(&shard->tables[i].ages);
    }
    while (shard->waiting.count > 0)
        shard_drop_waiting(shard, shard->waiting.count - 1);
    for (uint32_t i = 0; i < shard->sessions.count; i++) {
        shard_memory_close(shard, &shard->sessions.items[i]);
        shard->sessions.items[i].open = false;
        shard->sessions.items[i].seen_ns = 0; /* they talk to the other one from here on */
    }
}

void shard_set_incarnation(struct shard *shard, uint64_t incarnation)
{
    shard->options.incarnation = incarnation;
}

/* Keys and floats that the changes of a message have not taken yet. */
struct cargo {
    const uint64_unaligned *keys;
    const float_unaligned *floats;
    uint64_t keys_left, floats_left;
};

static struct cargo cargo_of(const struct message *message)
{
    struct cargo cargo = {0};
    if (message->payload_count > 0) {
        cargo.keys = message->payload[0].data;
        cargo.keys_left = message->payload[0].bytes / sizeof *cargo.keys;
    }
    if (message->payload_count > 1) {
        cargo.floats = message->payload[1].data;
        cargo.floats_left = message->payload[1].bytes / sizeof *cargo.floats;
    }
    return cargo;
}

static enum status lacks(const Anthill__Change *change, const char *what, struct error *error)
{
    return error_set(error, STATUS_CORRUPT, "change %d of table %u with %u keys: %s",
                     (int)change->kind, change->table, change->key_count, what);
}

static enum status take_row(struct shard_table *table, const Anthill__Change *change,
                            struct cargo *cargo, struct error *error)
{
    uint64_t key = *cargo->keys;
    uint32_t floats = table_stored_floats(table->table, key);
    if (floats == 0) return lacks(change, "no such row", error);
    if (floats > cargo->floats_left) return lacks(change, "too few floats", error);
    enum status status = table_restore_row(table->table, key, cargo->floats, true, error);
    cargo->floats += floats;
    cargo->floats_left -= floats;
    return status;
}

static enum status take_created(struct shard_table *table, const Anthill__Change *change,
                                uint64_t key, struct error *error)
{
    uint64_t floats = 0;
    struct error inner;
    if (table_floats(table->table, &key, 1, &floats, &inner) != STATUS_OK) {
        return lacks(change, inner.text, error);
    }
    return table_create_row(table->table, key, error);
}

static enum status take_sums(struct shard_table *table, const Anthill__Change *change,
                             struct cargo *cargo, struct error *error)
{
    uint64_t floats = 0;
    struct error inner;
    enum status status =
        table_floats(table->table, cargo->keys, change->key_count, &floats, &inner);
    if (status != STATUS_OK) return lacks(change, inner.text, error);
    if (floats > cargo->floats_left) return lacks(change, "too few floats", error);
    status = gradient_sums_add(&table->sums, table->table, change->clock, change->rate_scale,
                               cargo->keys, change->key_count, cargo->floats, error);
    cargo->floats += floats;
    cargo->floats_left -= floats;
    cargo->keys += change->key_count;
    cargo->keys_left -= change->key_count;
    return status;
}

/* Changes of rows, one key after the other. */
static enum status take_keys(struct shard_table *table, const Anthill__Change *change,
                             struct cargo *cargo, struct error *error)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i < change->key_count; i++) {
        if (i + KEYS_AHEAD < change->key_count) {
            table_prefetch(table->table, cargo->keys[KEYS_AHEAD]);
        }
        if (change->kind == ANTHILL__CHANGE_KIND__CHANGE_ROWS) {
            status = take_row(table, change, cargo, error);
        } else if (change->kind == ANTHILL__CHANGE_KIND__CHANGE_CREATED) {
            status = take_created(table, change, *cargo->keys, error);
        } else {
            table_delete(table->table, cargo->keys, 1);
        }
        cargo->keys++;
        cargo->keys_left--;
    }
    return status;
}

static enum status take_of_table(struct shard *shard, const Anthill__Change *change,
                                 struct cargo *cargo, struct error *error)
{
    if (change->table >= shard->table_count) return lacks(change, "no such table", error);
    if (change->key_count > cargo->keys_left) return lacks(change, "too few keys", error);
    struct shard_table *table = &shard->tables[change->table];
    switch (change->kind) {
    case ANTHILL__CHANGE_KIND__CHANGE_SUMS:
        return take_sums(table, change, cargo, error);
    case ANTHILL__CHANGE_KIND__CHANGE_SUMS_APPLIED:
        gradient_sums_drop(&table->sums, change->clock);
        return STATUS_OK;
    default:
        return take_keys(table, change, cargo, error);
    }
}

static enum status take_table(struct shard *shard, const Anthill__Change *change,
                              struct error *error)
{
    uint32_t number = 0;
    if (change->spec == NULL) return lacks(change, "no spec", error);
    enum status status = shard_table_create(shard, change->spec, &number, error);
    if (status == STATUS_OK && number != change->table) {
        return lacks(change, "the table has another number here", error);
    }
    return status;
}

static enum status take_session(struct shard *shard, const Anthill__Change *change,
                                struct error *error)
{
    struct session *session = NULL;
    enum status status = session_set_add(&shard->sessions, change->session, &session);
    if (status != STATUS_OK) {
        return error_set(error, status, "no room for session %" PRIu64, change->session);
    }
    session->window =
        (struct push_window){.highest = change->window_highest, .bits = change->window_bits};
    return STATUS_OK;
}

static enum status take(struct shard *shard, const Anthill__Change *change, struct cargo *cargo,
                        struct error *error)
{
    switch (change->kind) {
    case ANTHILL__CHANGE_KIND__CHANGE_TABLE:
        return take_table(shard, change, error);
    case ANTHILL__CHANGE_KIND__CHANGE_SESSION:
        return take_session(shard, change, error);
    case ANTHILL__CHANGE_KIND__CHANGE_SESSION_GONE:
        session_set_forget(&shard->sessions, change->session);
        staleness_leave(&shard->staleness, change->session);
        return STATUS_OK;
    case ANTHILL__CHANGE_KIND__CHANGE_CLOCK:
        if (staleness_advance(&shard->staleness, change->session, change->clock) == STATUS_OK) {
            return STATUS_OK;
        }
        return error_set(error, STATUS_NOMEM, "no memory for a trainer's clock");
    case ANTHILL__CHANGE_KIND__CHANGE_LEAVE:
        staleness_leave(&shard->staleness, change->session);
        return STATUS_OK;
    case ANTHILL__CHANGE_KIND__CHANGE_CLOCK_MIN:
        staleness_raise(&shard->staleness, change->clock);
        return STATUS_OK;
    case ANTHILL__CHANGE_KIND__CHANGE_ROWS:
    case ANTHILL__CHANGE_KIND__CHANGE_CREATED:
    case ANTHILL__CHANGE_KIND__CHANGE_REMOVED:
    case ANTHILL__CHANGE_KIND__CHANGE_SUMS:
    case ANTHILL__CHANGE_KIND__CHANGE_SUMS_APPLIED:
        return take_of_table(shard, change, cargo, error);
    default:
        return error_set(error, STATUS_CORRUPT, "change %d is unknown", (int)change->kind);
    }
}

enum status shard_take_changes(struct shard *shard, const struct message *message,
                               struct error *error)
{
    const Anthill__Replicate *body = message->envelope->replicate;
    struct cargo cargo = cargo_of(message);
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < body->n_changes; i++)
        status = take(shard, body->changes[i], &cargo, error);
    return status;
}

/* ---- comparing copies ----------------------------------------------------------------------- */

static uint64_t checksum_of(const struct table *table, const struct row_event *row, float *stored)
{
    table_event_stored(table, row, stored);
    size_t bytes = table_stored_floats(table, row->key) * sizeof *stored;
    const uint64_t both[2] = {row->key, checksum_bytes(stored, bytes)};
    return checksum_bytes(both, sizeof both);
}

/* Sums do not depend on the order of what is summed. */
static uint64_t checksum_rows(const struct table *table)
{
    struct row_events found = {0};
    float *stored = NULL;
    uint64_t cursor = 0, sum = 0;
    uint32_t floats = 0;
    do {
        found.count = 0;
        cursor = table_scan_rows(table, cursor, &found, 4096);
        for (uint32_t i = 0; i < found.count; i++) {
            uint32_t needed = table_stored_floats(table, found.items[i].key);
            if (needed > floats) stored = realloc(stored, (floats = needed) * sizeof *stored);
            CHECK(stored != NULL);
            sum += checksum_of(table, &found.items[i], stored);
        }
    } while (cursor != 0);
    free(stored);
    row_events_deinit(&found);
    return sum;
}

static uint64_t checksum_sums(const struct gradient_sums *sums)
{
    uint64_t total = 0;
    for (uint32_t c = 0; c < sums->count; c++) {
        const struct clock_sums *clock = &sums->clocks[c];
        for (uint32_t i = 0; i < clock->count; i++) {
            const struct gradient_sum *sum = &clock->sums[i];
            if (!sum->used) continue;
            const uint64_t all[3] = {clock->clock, sum->key,
                                     checksum_bytes(sum->sum, sum->floats * sizeof *sum->sum)};
            total += checksum_bytes(all, sizeof all);
        }
    }
    return total;
}

uint64_t shard_checksum(const struct shard *shard)
{
    uint64_t sum = shard->staleness.clock_min;
    for (uint32_t i = 0; i < shard->staleness.count; i++) {
        const struct trainer *trainer = &shard->staleness.trainers[i];
        const uint64_t all[2] = {trainer->session, trainer->clock};
        sum += checksum_bytes(all, sizeof all);
    }
    for (uint32_t i = 0; i < shard->sessions.count; i++) {
        const struct session *session = &shard->sessions.items[i];
        const uint64_t all[3] = {session->id, session->window.highest, session->window.bits};
        sum += checksum_bytes(all, sizeof all);
    }
    for (uint32_t i = 0; i < shard->table_count; i++) {
        const struct shard_table *table = &shard->tables[i];
        const char *name = table_spec(table->table)->name;
        const uint64_t all[4] = {i, checksum_bytes(name, strlen(name)), checksum_rows(table->table),
                                 checksum_sums(&table->sums)};
        sum += checksum_bytes(all, sizeof all);
    }
    return sum;
}

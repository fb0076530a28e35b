#include "ps/shard.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ps/shard_state.h"
#include "ps/table_spec.h"

#define ENVELOPE_BYTES 128 /* an Envelope without its body has fewer */

enum status shard_create(struct shard **shard, const struct shard_options *options)
{
    *shard = calloc(1, sizeof **shard);
    if (*shard == NULL) return STATUS_NOMEM;
    (*shard)->options = *options;
    return STATUS_OK;
}

static void drop_last_table(struct shard *shard)
{
    struct shard_table *last = &shard->tables[--shard->table_count];
    gradient_sums_deinit(&last->sums);
    row_events_deinit(&last->events);
    gradient_ages_deinit(&last->ages);
    table_destroy(last->table);
    if (shard->tables_ticked > shard->table_count) shard->tables_ticked = shard->table_count;
}

void shard_clear(struct shard *shard)
{
    while (shard->table_count > 0)
        drop_last_table(shard);
    shard->tables_logged = 0;
    for (uint32_t i = 0; i < shard->sessions.count; i++)
        shard_memory_close(shard, &shard->sessions.items[i]);
    session_set_deinit(&shard->sessions);
    staleness_deinit(&shard->staleness);
    waiting_pulls_deinit(&shard->waiting);
}

void shard_destroy(struct shard *shard)
{
    if (shard == NULL) return;
    shard_clear(shard);
    free(shard->tables);
    free(shard->block_keys);
    free(shard);
}

void shard_reply(const struct shard_request *request, Anthill__Envelope *reply,
                 struct frame *payload, unsigned payload_count)
{
    reply->request = request->envelope->request;
    reply->session = request->envelope->session;
    outbox_put(request->outbox, request->message->peer, reply, payload, payload_count);
}

void shard_refuse(struct shard *shard, uint64_t peer, uint64_t request, const struct error *error,
                  struct outbox *outbox)
{
    shard->refused++;
    outbox_put_error(outbox, peer, request, error);
}

uint32_t shard_table_count(const struct shard *shard)
{
    return shard->table_count;
}

struct table *shard_table(const struct shard *shard, uint32_t index)
{
    return shard->tables[index].table;
}

const struct gradient_ages *shard_table_ages(const struct shard *shard, uint32_t index)
{
    return &shard->tables[index].ages;
}

static bool find_table(const struct shard *shard, const char *name, uint32_t *index)
{
    for (*index = 0; *index < shard->table_count; ++*index) {
        if (strcmp(table_spec(shard->tables[*index].table)->name, name) == 0) return true;
    }
    return false;
}

static enum status add_table(struct shard *shard, const Anthill__TableSpec *spec,
                             struct error *error)
{
    if (shard->table_count == SHARD_TABLES_MAX) {
        return error_set(error, STATUS_BUSY, "table \"%s\": %u tables exist already", spec->name,
                         SHARD_TABLES_MAX);
    }
    if (shard->table_count == shard->table_capacity) {
        uint32_t capacity = shard->table_capacity == 0 ? 8 : shard->table_capacity * 2;
        struct shard_table *tables = realloc(shard->tables, capacity * sizeof *tables);
        if (tables == NULL) return error_set(error, STATUS_NOMEM, "table \"%s\"", spec->name);
        shard->tables = tables;
        shard->table_capacity = capacity;
    }
    struct shard_table created = {0};
    enum status status = table_create(&created.table, spec, error);
    if (status != STATUS_OK) return status;
    table_set_copy(created.table, shard->copy);
    shard->tables[shard->table_count++] = created;
    shard_watch_tables(shard);
    return STATUS_OK;
}

enum status shard_table_create(struct shard *shard, const Anthill__TableSpec *spec, uint32_t *index,
                               struct error *error)
{
    enum status status = table_spec_check(spec, error);
    if (status != STATUS_OK) return status;
    if (find_table(shard, spec->name, index)) {
        return table_spec_compare(table_spec(shard->tables[*index].table), spec, error);
    }
    return add_table(shard, spec, error);
}

/* Fills ids[] for the tables of `hello`; on error no table is left that was not there before. */
static enum status create_tables(struct shard *shard, const Anthill__Hello *hello, uint32_t *ids,
                                 struct error *error)
{
    uint32_t before = shard->table_count;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < hello->n_tables; i++)
        status = shard_table_create(shard, hello->tables[i], &ids[i], error);
    while (status != STATUS_OK && shard->table_count > before)
        drop_last_table(shard);
    return status;
}

enum status shard_describe(struct shard *shard, const struct shard_request *request,
                           struct error *error)
{
    const char *name = request->envelope->describe->name;
    Anthill__DescribeReply body = ANTHILL__DESCRIBE_REPLY__INIT;
    char *names[SHARD_TABLES_MAX];
    uint32_t index;
    if (find_table(shard, name, &index)) {
        body.spec = (Anthill__TableSpec *)table_spec(shard->tables[index].table);
        body.rows = table_row_count(shard->tables[index].table);
    } else {
        body.names = names;
        body.n_names = shard->table_count;
        for (uint32_t i = 0; i < shard->table_count; i++)
            names[i] = table_spec(shard->tables[i].table)->name;
    }
    size_t bytes = anthill__describe_reply__get_packed_size(&body);
    if (bytes > WIRE_HEADER_BYTES_MAX - ENVELOPE_BYTES) {
        return error_set(error, STATUS_INVALID, "table \"%s\": a spec of %zu bytes is not sent",
                         name, bytes);
    }
    Anthill__Envelope reply = ANTHILL__ENVELOPE__INIT;
    reply.body_case = ANTHILL__ENVELOPE__BODY_DESCRIBE_REPLY;
    reply.describe_reply = &body;
    shard_reply(request, &reply, NULL, 0);
    return STATUS_OK;
}

enum status shard_hello(struct shard *shard, struct shard_request *request, uint64_t now_ns,
                        struct error *error)
{
    const Anthill__Hello *hello = request->envelope->hello;
    uint64_t id = request->envelope->session;
    if (id == 0) return error_set(error, STATUS_INVALID, "Hello without a session");
    struct session *session = session_set_find(&shard->sessions, id);
    if (session == NULL && hello->known && session_set_may_have_expired(&shard->sessions, id)) {
        return error_set(error, STATUS_EXPIRED,
                         "session %" PRIu64 " was silent for too long and is forgotten", id);
    }
    uint32_t *ids = calloc(hello->n_tables + 1, sizeof *ids);
    if (ids == NULL) return error_set(error, STATUS_NOMEM, "no memory for Hello");
    enum status status = create_tables(shard, hello, ids, error);
    if (status != STATUS_OK) goto out;
    bool fresh = session == NULL;
    status = session_set_add(&shard->sessions, id, &session);
    if (status != STATUS_OK) {
        status = error_set(error, status, "no room for session %" PRIu64 " beside %u others", id,
                           shard->sessions.count);
        goto out;
    }
    if (fresh) push_window_begin(&session->window, hello->sequence_first);
    session->open = true;
    session->seen_ns = now_ns;
    shard_log_session(shard, session);
    if (hello->memory != NULL) shard_memory_open(shard, session, hello->memory);
    Anthill__HelloReply body = ANTHILL__HELLO_REPLY__INIT;
    body.incarnation = shard->options.incarnation;
    body.n_table_ids = hello->n_tables;
    body.table_ids = ids;
    body.sequence_next = session->window.highest + 1;
    body.memory_mapped = hello->memory != NULL && session->memory.base != NULL;
    if (body.memory_mapped) body.process = shard->options.process;
    Anthill__Envelope reply = ANTHILL__ENVELOPE__INIT;
    reply.body_case = ANTHILL__ENVELOPE__BODY_HELLO_REPLY;
    reply.hello_reply = &body;
    shard_reply(request, &reply, NULL, 0);
out:
    free(ids);
    return status;
}

/* The session of a request that is not Hello. */
static enum status find_session(struct shard *shard, struct shard_request *request, uint64_t now_ns,
                                struct error *error)
{
    uint64_t id = request->envelope->session, incarnation = request->envelope->incarnation;
    struct session *session = session_set_find(&shard->sessions, id);
    /* What was sent to the shard before it started again has old numbers of tables. */
    bool late = incarnation != 0 && incarnation != shard->options.incarnation;
    if (late || session == NULL || !session->open) {
        return error_set(error, STATUS_NOT_FOUND, "session %" PRIu64 " unknown: say Hello", id);
    }
    session->seen_ns = now_ns;
    request->session = session;
    return STATUS_OK;
}

static enum status handle(struct shard *shard, struct shard_request *request, uint64_t now_ns,
                          struct error *error)
{
    const Anthill__Envelope *envelope = request->envelope;
    if (shard->map_version != 0 && envelope->map_version != shard->map_version) {
        return error_set(error, STATUS_BUSY, "slot map %" PRIu64 " is not the shard's, %" PRIu64,
                         envelope->map_version, shard->map_version);
    }
    if (envelope->body_case == ANTHILL__ENVELOPE__BODY_HELLO) {
        return shard_hello(shard, request, now_ns, error);
    }
    enum status status = find_session(shard, request, now_ns, error);
    if (status != STATUS_OK) return status;
    switch (envelope->body_case) {
    case ANTHILL__ENVELOPE__BODY_PULL:
        return shard_pull(shard, request, error);
    case ANTHILL__ENVELOPE__BODY_PUSH:
        return shard_push(shard, request, error);
    case ANTHILL__ENVELOPE__BODY_ADVANCE:
        return shard_advance(shard, request, error);
    case ANTHILL__ENVELOPE__BODY_ASSIGN:
        return shard_assign(shard, request, error);
    case ANTHILL__ENVELOPE__BODY_DELETE:
        return shard_delete(shard, request, error);
    case ANTHILL__ENVELOPE__BODY_SCAN:
        return shard_scan(shard, request, error);
    case ANTHILL__ENVELOPE__BODY_DESCRIBE:
        return shard_describe(shard, request, error);
    default:
        return error_set(error, STATUS_INVALID, "message %d is none that a shard answers",
                         (int)envelope->body_case);
    }
}

void shard_handle(struct shard *shard, uint64_t now_ns, const struct message *message,
                  struct outbox *outbox)
{
    shard->now_ns = now_ns;
    /* Tables are told the time before their first request. */
    while (shard->tables_ticked < shard->table_count)
        table_tick(shard->tables[shard->tables_ticked++].table, now_ns);
    struct error error = {0};
    struct shard_request request = {
        .message = message, .envelope = message->envelope, .outbox = outbox};
    enum status status = handle(shard, &request, now_ns, &error);
    if (status != STATUS_OK) {
        shard_refuse(shard, message->peer, message->envelope->request, &error, outbox);
    }
}

void shard_sessions_gone(struct shard *shard, const uint64_t *sessions, uint32_t count,
                         struct outbox *outbox)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t before = shard->staleness.count;
        staleness_leave(&shard->staleness, sessions[i]);
        if (shard->staleness.count < before) shard_log_leave(shard, sessions[i]);
    }
    shard_progress(shard, outbox);
}

void shard_set_map_version(struct shard *shard, uint64_t version)
{
    shard->map_version = version;
}

uint64_t shard_map_version(const struct shard *shard)
{
    return shard->map_version;
}

static void drop_waiting(struct shard *shard, uint64_t session)
{
    for (uint32_t i = shard->waiting.count; i-- > 0;) {
        if (shard->waiting.items[i].session == session) shard_drop_waiting(shard, i);
    }
}

void shard_tick(struct shard *shard, uint64_t now_ns, struct outbox *outbox)
{
    shard->now_ns = now_ns;
    for (uint32_t i = shard->sessions.count; i-- > 0;) {
        struct session *session = &shard->sessions.items[i];
        /* Restored sessions begin to be silent at the first tick. */
        if (session->seen_ns == 0) session->seen_ns = now_ns;
        shard_memory_tick(shard, session);
        if (now_ns - session->seen_ns <= shard->options.session_idle_ns) continue;
        staleness_leave(&shard->staleness, session->id);
        drop_waiting(shard, session->id);
        shard_memory_close(shard, session);
        shard_log_session_gone(shard, session->id);
        session_set_expire(&shard->sessions, session);
        shard->sessions_expired++;
    }
    shard_progress(shard, outbox);
    for (uint32_t i = 0; i < shard->table_count; i++)
        table_tick(shard->tables[i].table, now_ns);
    shard->tables_ticked = shard->table_count;
}

void shard_stats(const struct shard *shard, struct shard_stats *stats)
{
    *stats = (struct shard_stats){
        .pulls = shard->pulls,
        .pushes = shard->pushes,
        .pulled_rows = shard->pulled_rows,
        .pushed_rows = shard->pushed_rows,
        .repeated_pushes = shard->repeated_pushes,
        .refused = shard->refused,
        .waiting_pulls = shard->waiting.count,
        .sessions = shard->sessions.count,
        .sessions_expired = shard->sessions_expired,
        .trainers = shard->staleness.count,
        .clock_min = shard->staleness.clock_min,
        .memories = shard->memories,
    };
    for (uint32_t i = 0; i < shard->table_count; i++) {
        stats->rows += table_row_count(shard->tables[i].table);
        stats->bytes += table_bytes(shard->tables[i].table);
    }
}

#include "ps/client/client_core.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/client/client_state.h"
#include "ps/row_codec.h"
#include "ps/table_spec.h"

#define EXPIRY_INTERVAL_NS (LINK_SECOND_NS / 10)

/* ---- requests ------------------------------------------------------------------------------- */

void client_core_request_free(struct client_core *core, struct request *request)
{
    if (request->next != NULL) request->next->previous = request->previous;
    *(request->previous != NULL ? &request->previous->next : &core->requests) = request->next;
    request_deinit(request, &core->shared.blocks);
    free(request);
}

static struct request *request_find(struct client_core *core, uint64_t ticket)
{
    struct request *request = core->requests;
    while (request != NULL && request->ticket != ticket) {
        request = request->next;
    }
    return request;
}

/* Frees a part that is in no list any more, unless a shard is at its rows in shared memory. */
static void part_free(struct client_core *core, struct part *part)
{
    if (part->block != 0 && !client_blocks_withdraw(&core->shared.blocks, part)) {
        if (part->lingers_ns == 0) part->lingers_ns = core->now_ns;
        part_list_append(&core->lingering, part);
        return;
    }
    struct request *request = part->request;
    client_blocks_give(&core->shared.blocks, part);
    part_pool_give(&core->shared.pool, part);
    if (request != NULL && --request->parts_left == 0 && request->status == STATUS_OK) {
        client_core_request_free(core, request);
    }
}

/* A process that has ended, or was silent for too long, writes no more. */
static void lingering_tick(struct client_core *core)
{
    for (struct part *part = core->lingering.head, *next; part != NULL; part = next) {
        next = part->next;
        bool over = (core->links[part->link].incarnation != part->incarnation &&
                     client_blocks_left(&core->shared.blocks, part)) ||
                    core->now_ns - part->lingers_ns > core->shared.timeout_ns;
        part_list_remove(&core->lingering, part);
        if (over) client_blocks_give(&core->shared.blocks, part);
        part_free(core, part);
    }
}

/* Ends parts of the request that are under way. What pulls would write to the caller's rows, which
 * are no longer ours. Gradients are still delivered, those that are borrowed before the request has
 * ended; with `pushes_too` they are not. */
static void request_fail(struct client_core *core, struct request *request, bool pushes_too,
                         enum status status, const struct error *error)
{
    if (request->status == STATUS_OK) request->error = *error;
    if (request->status == STATUS_OK) request->status = status;
    uint32_t slot = 0;
    for (struct part *part; (part = part_pool_next(&core->shared.pool, &slot)) != NULL;) {
        if (part->request != request || part->ended) continue;
        if (part_kind_reads(part->kind) || (pushes_too && part->block != 0)) {
            client_link_remove(&core->links[part->link], part);
            part->ended = true;
            part_free(core, part);
        } else if (part->block == 0) {
            part->request = NULL;
            request->parts_left--;
        }
    }
}

/* Remembers when the rows of a pull were read. */
static void pull_answered(struct client_core *core, const struct part *part,
                          const struct message *message)
{
    const Anthill__PullReply *reply = message->envelope->pull_reply;
    const struct pull_moment moment = {.updates = reply->updates,
                                       .ns = reply->at_ns,
                                       .clock_min = reply->clock_min,
                                       .incarnation = core->links[part->link].incarnation};
    pull_moments_answered(&core->moments, core->cut.link_count, part->request->ticket, part->table,
                          part->link, &moment);
}

/* Takes a part that is in no list any more. `message` is the answer, NULL when it failed. */
static void part_end(struct client_core *core, struct part *part, const struct message *message,
                     enum status status, struct error *error)
{
    struct request *request = part->request;
    part->ended = true;
    if (status == STATUS_OK && part->kind == PART_PULL && request != NULL) {
        status = request_put_rows(request, part, message, error);
        if (status == STATUS_OK && !part->read_only) pull_answered(core, part, message);
    }
    if (status == STATUS_OK && part->kind == PART_SCAN && request != NULL) {
        status = request_put_keys(request, part, message, core->cut.link_count, error);
    }
    if (status == STATUS_OK && part->kind == PART_DESCRIBE && request != NULL) {
        status = request_put_description(request, message, error);
    }
    if (status == STATUS_OK && part->kind == PART_DELETE && request != NULL &&
        request->deleted != NULL) {
        *request->deleted += message->envelope->delete_reply->deleted;
    }
    if (part->kind == PART_ADVANCE && status == STATUS_OK && message != NULL) {
        client_session_advanced(core, part, message->envelope->advance_reply->clock);
    } else if (part->kind == PART_ADVANCE && !part->leave) {
        client_session_fail(core, status, error);
    }
    if (status != STATUS_OK && request != NULL) request_fail(core, request, false, status, error);
    part_free(core, part);
}

static void tables_remove_last(struct client_core *core)
{
    uint32_t last = --core->shared.table_count;
    anthill__table_spec__free_unpacked(core->shared.tables[last], NULL);
    table_layout_deinit(core->layouts[last]);
    free(core->layouts[last]);
    for (uint32_t i = 0; i < core->cut.link_count; i++) {
        struct client_link *link = &core->links[i];
        if (link->tables_open > last) link->tables_open = last;
        if (link->hello_id == 0 || link->hello_tables <= last) continue;
        link->hello_id = 0; /* an answer to it would speak, or speaks, of the table that is gone */
        link->hello_due_ns = 0;
        if (link->status != STATUS_UNAVAILABLE) link->status = STATUS_OK;
    }
}

/* The shard is lost, or does not want this session: everything that waits for it ends. */
static void link_fail(struct client_core *core, struct client_link *link)
{
    struct error error = link->error;
    enum status status = link->status;
    bool opening = core->opening_ticket != 0 && core->opening_status == STATUS_BUSY;
    if (opening && status != STATUS_UNAVAILABLE) {
        core->opening_status = status;
        core->opening_error = error;
        tables_remove_last(core);
    } else {
        client_session_fail(core, status, &error);
    }
    for (struct part *part; (part = client_link_take_any(link)) != NULL;) {
        part_end(core, part, NULL, status, &error);
    }
    link->status = STATUS_OK;
    link->state = LINK_CLOSED;
    link->hello_id = 0;
    link->hello_due_ns = 0;
    link->refused_ns = 0;
    link->waiting_ns = 0;
}

static void opening_tick(struct client_core *core)
{
    if (core->opening_ticket == 0 || core->opening_status != STATUS_BUSY) return;
    for (uint32_t i = 0; i < core->cut.link_count; i++) {
        if (core->links[i].tables_open < core->shared.table_count) return;
    }
    core->opening_status = STATUS_OK;
}

/* ---- public --------------------------------------------------------------------------------- */

struct client_core *client_core_create(const struct client_core_options *options)
{
    struct client_core *core = client_session_alloc(1, sizeof *core);
    core->options = *options;
    core->options.coordinator = strdup(options->coordinator);
    core->options.name = strdup(options->name);
    CHECK(core->options.coordinator != NULL && core->options.name != NULL);
    core->shared.timeout_ns = options->timeout_ns;
    core->shared.coordinator = core->options.coordinator;
    core->ticket_next = 1;
    client_session_call(core, CALL_JOIN);
    return core;
}

void client_core_destroy(struct client_core *core)
{
    if (core == NULL) return;
    while (core->requests != NULL) {
        client_core_request_free(core, core->requests);
    }
    for (uint32_t i = 0; i < core->cut.link_count; i++) {
        client_link_deinit(&core->links[i]);
    }
    part_pool_deinit(&core->shared.pool);
    pull_moments_deinit(&core->moments);
    client_blocks_deinit(&core->shared.blocks);
    while (core->shared.table_count > 0) {
        tables_remove_last(core);
    }
    free(core->shared.tables);
    free(core->layouts);
    outbox_deinit(&core->outbox);
    free(core->links);
    free(core->link_entry);
    free(core->owners);
    free(core->cut.starts);
    free(core->cut.shard_of);
    free((char *)core->options.coordinator);
    free((char *)core->options.name);
    free(core);
}

enum status client_core_joined(struct client_core *core, struct error *error)
{
    if (core->status != STATUS_OK) {
        if (error != NULL) *error = core->error;
        return core->status;
    }
    return core->joined ? STATUS_OK : STATUS_BUSY;
}

void client_core_tick(struct client_core *core, uint64_t now_ns)
{
    if (core->now_ns != 0 && now_ns > core->now_ns + LINK_SECOND_NS) {
        for (uint32_t i = 0; i < core->cut.link_count; i++)
            client_link_slept(&core->links[i], now_ns, now_ns - core->now_ns - LINK_SECOND_NS);
    }
    core->now_ns = now_ns;
    lingering_tick(core);
    bool look_for_expired = now_ns >= core->expiry_due_ns;
    if (look_for_expired) core->expiry_due_ns = now_ns + EXPIRY_INTERVAL_NS;
    for (uint32_t i = 0; i < core->cut.link_count; i++) {
        struct client_link *link = &core->links[i];
        bool wanted = core->shared.table_count > 0 || !client_link_idle(link);
        if (wanted) client_link_tick(link, &core->shared, now_ns);
        if (link->status != STATUS_OK) link_fail(core, link);
        if (!look_for_expired) continue;
        struct error error;
        for (struct part *part;
             (part = client_link_take_expired(link, &core->shared, now_ns, &error)) != NULL;) {
            part_end(core, part, NULL, error.status, &error);
        }
    }
    opening_tick(core);
    client_session_tick(core, now_ns);
}

void client_core_receive(struct client_core *core, uint64_t now_ns, uint32_t source,
                         const struct message *message)
{
    if (source == CLIENT_COORDINATOR) {
        client_session_answer(core, now_ns, message->envelope);
        return;
    }
    CHECK(source < core->cut.link_count);
    enum status status = STATUS_OK;
    struct error error = {0};
    struct part *part =
        client_link_receive(&core->links[source], &core->shared, now_ns, message, &status, &error);
    if (part != NULL) part_end(core, part, message, status, &error);
    while ((part = client_link_take_lost(&core->links[source], &core->shared, &error)) != NULL)
        part_end(core, part, NULL, error.status, &error);
}

struct message *client_core_output(struct client_core *core, uint32_t target)
{
    if (target != CLIENT_COORDINATOR) return client_link_output(&core->links[target]);
    if (core->outbox_sent < core->outbox.count) return &core->outbox.messages[core->outbox_sent];
    outbox_clear(&core->outbox);
    core->outbox_sent = 0;
    return NULL;
}

void client_core_sent(struct client_core *core, uint32_t target)
{
    if (target == CLIENT_COORDINATOR) {
        core->outbox_sent++;
    } else {
        client_link_sent(&core->links[target]);
    }
}

void client_core_share(struct client_core *core, void *base, const Anthill__SharedMemory *where,
                       bool (*ended)(uint32_t process))
{
    client_blocks_init(&core->shared.blocks, base, where);
    core->shared.blocks.ended = ended;
}

void *client_core_memory_alloc(struct client_core *core, uint64_t bytes)
{
    return region_alloc(&core->shared.blocks.region, bytes);
}

bool client_core_memory_free(struct client_core *core, void *memory)
{
    struct region *region = &core->shared.blocks.region;
    if (region->base == NULL || !region_contains(region, memory, 1)) return false;
    region_free(region, memory);
    return true;
}

enum status client_core_set_encoding(struct client_core *core, uint32_t table,
                                     Anthill__Encoding encoding, struct error *error)
{
    if (table >= core->shared.table_count) {
        return error_set(error, STATUS_INVALID, "there is no table of number %u", table);
    }
    if (row_codec_bytes(encoding, 1) == 0) {
        return error_set(error, STATUS_INVALID, "table %s: encoding %u is not known",
                         core->shared.tables[table]->name, (unsigned)encoding);
    }
    if (core->layouts[table]->dim == 0 && encoding != ANTHILL__ENCODING__ENCODING_F32) {
        return error_set(error, STATUS_INVALID, "table %s is dense: its values travel as f32",
                         core->shared.tables[table]->name);
    }
    core->layouts[table]->encoding = encoding;
    return STATUS_OK;
}

uint32_t client_core_shard_count(const struct client_core *core)
{
    return core->cut.link_count;
}

const char *client_core_endpoint(const struct client_core *core, uint32_t shard)
{
    return core->links[shard].endpoint;
}

uint64_t client_core_session(const struct client_core *core)
{
    return core->shared.session;
}

uint64_t client_core_clock(const struct client_core *core)
{
    return core->clock;
}

const Anthill__TableSpec *client_core_table_spec(const struct client_core *core, uint32_t table)
{
    return core->shared.tables[table];
}

uint32_t client_core_table_find(const struct client_core *core, const char *name)
{
    for (uint32_t i = 0; i < core->shared.table_count; i++) {
        if (strcmp(core->shared.tables[i]->name, name) == 0) return i;
    }
    return UINT32_MAX;
}

enum status client_core_table(struct client_core *core, const Anthill__TableSpec *spec,
                              uint32_t *table, uint64_t *ticket, struct error *error)
{
    *ticket = 0;
    if (core->opening_ticket != 0) {
        return error_set(error, STATUS_BUSY, "table %s: another table is being opened", spec->name);
    }
    enum status status = table_spec_check(spec, error);
    if (status != STATUS_OK) return status;
    *table = client_core_table_find(core, spec->name);
    if (*table != UINT32_MAX) {
        return table_spec_compare(core->shared.tables[*table], spec, error);
    }
    uint32_t count = core->shared.table_count;
    Anthill__TableSpec **tables =
        realloc(core->shared.tables, (count + 1) * sizeof(Anthill__TableSpec *));
    CHECK(tables != NULL);
    core->shared.tables = tables;
    struct table_layout **layouts =
        realloc(core->layouts, (count + 1) * sizeof(struct table_layout *));
    CHECK(layouts != NULL);
    core->layouts = layouts;
    tables[count] = wire_copy(&spec->base);
    if (tables[count] == NULL) {
        return error_set(error, STATUS_NOMEM, "no memory for table %s", spec->name);
    }
    layouts[count] = client_session_alloc(1, sizeof **layouts);
    table_layout_init(layouts[count], spec);
    core->shared.table_count++;
    *table = count;
    *ticket = core->opening_ticket = core->ticket_next++;
    core->opening_status = STATUS_BUSY;
    return STATUS_OK;
}

static enum status opening_ended(struct client_core *core, struct error *error)
{
    enum status status = core->opening_status;
    if (status == STATUS_BUSY) return status;
    core->opening_ticket = 0;
    if (status == STATUS_OK) return status;
    if (error != NULL) *error = core->opening_error;
    return status;
}

enum status client_core_ended(struct client_core *core, uint64_t ticket, struct error *error)
{
    if (core->opening_ticket != 0 && ticket == core->opening_ticket) {
        enum status status = opening_ended(core, error);
        if (status != STATUS_BUSY) return status;
    }
    struct request *request = request_find(core, ticket);
    if (request != NULL && core->status != STATUS_OK) {
        request_fail(core, request, true, core->status, &core->error);
    }
    if (request != NULL && request->status != STATUS_OK) {
        if (request->parts_left > 0) return STATUS_BUSY; /* its memory is not the caller's yet */
        enum status status = request->status;
        if (error != NULL) *error = request->error;
        client_core_request_free(core, request);
        return status;
    }
    if (core->status != STATUS_OK) {
        if (error != NULL) *error = core->error;
        return core->status;
    }
    if (request != NULL || (ticket == core->opening_ticket && ticket != 0)) return STATUS_BUSY;
    pull_moments_waited(&core->moments, ticket);
    return STATUS_OK;
}

enum status client_core_pushes_ended(struct client_core *core, struct error *error)
{
    const struct request *failed = NULL;
    bool under_way = false, memory_used = false;
    for (struct request *request = core->requests; request != NULL; request = request->next) {
        if (part_kind_reads(request->kind)) continue;
        if (core->status != STATUS_OK) {
            request_fail(core, request, true, core->status, &core->error);
        }
        under_way = true;
        if (request->status == STATUS_OK) continue;
        failed = request;
        memory_used = memory_used || request->parts_left > 0;
    }
    for (uint32_t i = 0; i < core->cut.link_count; i++) {
        const struct client_link *link = &core->links[i];
        under_way |= link->pushes_waiting.count + link->pushes_sent.count > 0;
    }
    if (memory_used) return STATUS_BUSY;
    if (failed != NULL) return client_core_ended(core, failed->ticket, error);
    if (core->status != STATUS_OK) {
        if (error != NULL) *error = core->error;
        return core->status;
    }
    return under_way ? STATUS_BUSY : STATUS_OK;
}

void client_core_enter(struct client_core *core)
{
    client_session_enter(core);
}

enum status client_core_entered(struct client_core *core, struct error *error)
{
    enum status status = client_core_joined(core, error);
    return status == STATUS_OK && core->trainer != TRAINER_IN ? STATUS_BUSY : status;
}

void client_core_advance(struct client_core *core)
{
    if (core->options.trains) client_session_enter(core);
    client_core_advance_to(core, core->clock + 1);
}

void client_core_advance_to(struct client_core *core, uint64_t clock)
{
    if (clock <= core->clock) return;
    core->clock = clock;
    for (uint32_t i = 0; core->options.trains && i < core->cut.link_count; i++) {
        client_link_add(&core->links[i], client_session_advance(core, i));
    }
}

void client_core_idle(struct client_core *core)
{
    client_session_leave(core);
}

void client_core_leave(struct client_core *core)
{
    struct error error;
    error_set(&error, STATUS_STOPPED, "the client leaves");
    for (struct request *request = core->requests; request != NULL; request = request->next)
        request_fail(core, request, false, STATUS_STOPPED, &error);
    client_session_leave(core);
    core->leaving = true;
    if (core->joined && !core->local) {
        client_session_call(core, CALL_LEAVE);
    } else {
        core->left = true;
    }
}

bool client_core_left(const struct client_core *core)
{
    for (uint32_t i = 0; i < core->cut.link_count; i++) {
        if (!client_link_idle(&core->links[i])) return false;
    }
    return core->left;
}

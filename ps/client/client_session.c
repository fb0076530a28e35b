/* A client among the others: it joins the run, follows the slot map, and has a clock. */
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/client/client_state.h"

#define COORDINATOR_RESEND_NS LINK_SECOND_NS
#define MAP_INTERVAL_NS       (LINK_SECOND_NS / 10)

void *client_session_alloc(size_t count, size_t bytes)
{
    void *memory = calloc(count + 1, bytes);
    CHECK(memory != NULL);
    return memory;
}

void client_session_fail(struct client_core *core, enum status status, const struct error *error)
{
    if (core->status != STATUS_OK || core->leaving) return;
    core->status = status;
    core->error = *error;
}

/* ---- the coordinator ------------------------------------------------------------------------ */

static void put_call(struct client_core *core)
{
    Anthill__Join join = ANTHILL__JOIN__INIT;
    Anthill__MapRequest map = ANTHILL__MAP_REQUEST__INIT;
    Anthill__Leave leave = ANTHILL__LEAVE__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.request = core->call_id;
    envelope.session = core->shared.session;
    envelope.map_version = core->shared.map_version;
    switch (core->call) {
    case CALL_NONE:
        return;
    case CALL_JOIN:
        join.name = (char *)core->options.name;
        join.trains = core->options.trains;
        join.seed_count = core->options.seed_count;
        join.graph_checksum = core->options.graph_checksum;
        envelope.body_case = ANTHILL__ENVELOPE__BODY_JOIN;
        envelope.join = &join;
        break;
    case CALL_MAP:
        envelope.body_case = ANTHILL__ENVELOPE__BODY_MAP_REQUEST;
        envelope.map_request = &map;
        break;
    case CALL_LEAVE:
        envelope.body_case = ANTHILL__ENVELOPE__BODY_LEAVE;
        envelope.leave = &leave;
        break;
    }
    outbox_put(&core->outbox, 0, &envelope, NULL, 0);
}

void client_session_call(struct client_core *core, enum coordinator_call call)
{
    core->call = call;
    core->call_id++;
    core->call_due_ns = 0;
    core->call_since_ns = 0;
}

void client_session_tick(struct client_core *core, uint64_t now_ns)
{
    if (core->local) return;
    if (core->call == CALL_NONE && core->shared.map_wanted && core->joined &&
        now_ns - core->map_asked_ns >= MAP_INTERVAL_NS) {
        core->map_asked_ns = now_ns;
        client_session_call(core, CALL_MAP);
    }
    if (core->call == CALL_NONE) return;
    if (core->call_since_ns == 0) core->call_since_ns = now_ns;
    if (core->call == CALL_MAP && core->shared.map_asked_ns == 0)
        core->shared.map_asked_ns = now_ns;
    if (core->call == CALL_JOIN && now_ns - core->call_since_ns >= core->options.timeout_ns) {
        struct error error;
        error_set(&error, STATUS_UNAVAILABLE,
                  "coordinator at %s has not let this client into the run for %.1f s",
                  core->options.coordinator,
                  (double)(now_ns - core->call_since_ns) / (double)LINK_SECOND_NS);
        client_session_fail(core, STATUS_UNAVAILABLE, &error);
        return;
    }
    /* Training goes on without a coordinator: a request for the map has no deadline of its own. */
    if (now_ns < core->call_due_ns) return;
    if (core->outbox.count == core->outbox_sent) put_call(core);
    core->call_due_ns = now_ns + COORDINATOR_RESEND_NS;
}

/* ---- the slot map --------------------------------------------------------------------------- */

static enum status map_check(const Anthill__SlotMap *map, struct error *error)
{
    if (map == NULL || map->n_shards == 0 || map->slot_count == 0 ||
        map->n_owners != map->slot_count) {
        return error_set(error, STATUS_CORRUPT, "slot map of %zu shards and %zu slots",
                         map == NULL ? 0 : map->n_shards, map == NULL ? 0 : map->n_owners);
    }
    for (size_t i = 0; i < map->n_shards; i++) {
        if (map->shards[i]->primary >= map->n_shards) {
            return error_set(error, STATUS_CORRUPT, "shard %zu is served by thread %u of %zu", i,
                             map->shards[i]->primary, map->n_shards);
        }
    }
    for (size_t i = 0; i < map->n_owners; i++) {
        if (map->owners[i] >= map->n_shards) {
            return error_set(error, STATUS_CORRUPT, "slot %zu belongs to shard %u of %zu", i,
                             map->owners[i], map->n_shards);
        }
    }
    return STATUS_OK;
}

static void map_take_first(struct client_core *core, const Anthill__SlotMap *map)
{
    uint32_t count = (uint32_t)map->n_shards;
    core->owners = client_session_alloc(map->n_owners, sizeof *core->owners);
    memcpy(core->owners, map->owners, map->n_owners * sizeof *core->owners);
    core->links = client_session_alloc(count, sizeof *core->links);
    core->link_entry = client_session_alloc(count, sizeof *core->link_entry);
    core->cut = (struct request_cut){
        .links = core->links,
        .link_count = count,
        .owners = core->owners,
        .slot_count = map->slot_count,
        .starts = client_session_alloc(count + 1, sizeof *core->cut.starts),
        .blocks = &core->shared.blocks,
        .moments = &core->moments,
    };
    for (uint32_t i = 0; i < count; i++) {
        client_link_init(&core->links[i], i, map);
    }
    core->shared.map_version = map->version;
}

/* A later map may name other primaries; which shard owns a slot stays. */
static void map_take(struct client_core *core, const Anthill__SlotMap *map)
{
    struct error error;
    enum status status = map_check(map, &error);
    if (status == STATUS_OK &&
        (map->n_shards != core->cut.link_count || map->slot_count != core->cut.slot_count ||
         memcmp(map->owners, core->owners, map->n_owners * sizeof *core->owners) != 0)) {
        status = error_set(&error, STATUS_CONFIG,
                           "slot map %llu has %zu shards and %u slots instead of %u and %u",
                           (unsigned long long)map->version, map->n_shards, map->slot_count,
                           core->cut.link_count, core->cut.slot_count);
    }
    if (status != STATUS_OK) {
        error_wrap(&error, status, "coordinator at %s", core->options.coordinator);
        client_session_fail(core, status, &error);
        return;
    }
    if (map->version <= core->shared.map_version) return;
    core->shared.map_version = map->version;
    core->shared.map_wanted = false;
    for (uint32_t i = 0; i < core->cut.link_count; i++) {
        client_link_update(&core->links[i], map);
    }
}

enum status client_core_start(struct client_core *core, uint64_t session,
                              const Anthill__SlotMap *map, struct error *error)
{
    enum status status = map_check(map, error);
    if (status != STATUS_OK) return status;
    CHECK(!core->joined);
    core->local = core->call == CALL_JOIN; /* nobody was asked */
    core->call = CALL_NONE;
    core->shared.session = session;
    map_take_first(core, map);
    core->joined = true;
    return STATUS_OK;
}

void client_session_answer(struct client_core *core, uint64_t now_ns,
                           const Anthill__Envelope *envelope)
{
    /* Sent to all by a coordinator whose map has changed. */
    if (envelope->request == 0 && envelope->body_case == ANTHILL__ENVELOPE__BODY_SLOT_MAP) {
        if (core->joined && !core->local) map_take(core, envelope->slot_map);
        return;
    }
    if (core->call == CALL_NONE || envelope->request != core->call_id) return;
    enum coordinator_call call = core->call;
    core->shared.map_asked_ns = 0;
    struct error error;
    enum status status = wire_error(envelope, &error);
    if (status == STATUS_BUSY && call != CALL_LEAVE) return; /* asked again when it is due */
    core->call = CALL_NONE;
    core->map_asked_ns = now_ns;
    if (call == CALL_LEAVE) {
        core->left = true;
    } else if (call == CALL_MAP) {
        core->shared.map_wanted = false;
        if (envelope->body_case == ANTHILL__ENVELOPE__BODY_SLOT_MAP) {
            map_take(core, envelope->slot_map);
        }
    } else if (envelope->body_case == ANTHILL__ENVELOPE__BODY_JOIN_REPLY) {
        const Anthill__JoinReply *reply = envelope->join_reply;
        status = client_core_start(core, reply->session, reply->map, &error);
    } else if (status == STATUS_OK) {
        status = error_set(&error, STATUS_CORRUPT, "answer %d to Join", (int)envelope->body_case);
    }
    if (status != STATUS_OK && call == CALL_JOIN) {
        error_wrap(&error, status, "coordinator at %s", core->options.coordinator);
        client_session_fail(core, status, &error);
    }
}

/* ---- the clock ------------------------------------------------------------------------------ */

struct part *client_session_advance(struct client_core *core, uint32_t link)
{
    struct part *part = part_pool_take(&core->shared.pool);
    part->kind = PART_ADVANCE;
    part->link = link;
    part->clock = core->clock;
    part->awaits_entry = core->trainer == TRAINER_ENTERING;
    return part;
}

void client_session_enter(struct client_core *core)
{
    core->idle_after_entry = false;
    if (core->trainer != TRAINER_OUT) return;
    core->entry_guess = core->clock;
    core->entry_clock = core->clock;
    core->entries_left = core->cut.link_count;
    for (uint32_t i = 0; i < core->cut.link_count; i++) {
        struct part *part = client_session_advance(core, i);
        part->enters = true;
        client_link_add(&core->links[i], part);
    }
    core->trainer = TRAINER_ENTERING;
    core->shared.trains = true;
}

void client_session_leave(struct client_core *core)
{
    if (core->trainer == TRAINER_ENTERING) {
        core->idle_after_entry = true;
        return;
    }
    if (core->trainer == TRAINER_OUT) return;
    for (uint32_t i = 0; i < core->cut.link_count; i++) {
        struct part *part = client_session_advance(core, i);
        part->leave = true;
        client_link_add(&core->links[i], part);
    }
    core->trainer = TRAINER_OUT;
    core->shared.trains = false;
}

/* Shards may have let it in at different clocks: the highest counts on all of them. */
static void entered_everywhere(struct client_core *core)
{
    core->trainer = TRAINER_IN;
    uint64_t later = core->entry_clock - core->entry_guess;
    core->clock += later;
    uint32_t slot = 0;
    for (struct part *part; (part = part_pool_next(&core->shared.pool, &slot)) != NULL;) {
        if (part->awaits_entry) part->clock += later;
        part->awaits_entry = false;
    }
    for (uint32_t i = 0; i < core->cut.link_count; i++) {
        if (core->link_entry[i] == core->entry_clock) continue;
        struct part *again = client_session_advance(core, i);
        again->clock = core->entry_clock;
        client_link_add_first(&core->links[i], again);
    }
    if (core->idle_after_entry) client_session_leave(core);
}

void client_session_advanced(struct client_core *core, const struct part *part, uint64_t clock)
{
    if (part->enters) {
        core->link_entry[part->link] = clock;
        if (clock > core->entry_clock) core->entry_clock = clock;
        if (--core->entries_left == 0) entered_everywhere(core);
    } else if (core->trainer == TRAINER_IN && !part->leave && clock > core->clock) {
        /* It had been taken for dead, and has entered again where others are: on every shard, or
         * its pulls at the new clock would wait for itself where it is behind. */
        core->clock = clock;
        for (uint32_t i = 0; i < core->cut.link_count; i++) {
            if (i == part->link) continue;
            client_link_add(&core->links[i], client_session_advance(core, i));
        }
    }
}

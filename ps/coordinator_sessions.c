#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/coordinator_internal.h"

void coordinator_sessions_deinit(struct coordinator *coordinator)
{
    for (uint32_t i = 0; i < coordinator->session_count; i++)
        free(coordinator->sessions[i].name);
    for (uint32_t i = 0; i < coordinator->join_count; i++)
        free(coordinator->joins[i].name);
    free(coordinator->sessions);
    free(coordinator->joins);
}

struct session *coordinator_sessions_find(struct coordinator *coordinator, uint64_t id)
{
    uint32_t low = 0, high = coordinator->session_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (coordinator->sessions[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < coordinator->session_count && coordinator->sessions[low].id == id;
    return found ? &coordinator->sessions[low] : NULL;
}

uint32_t coordinator_sessions_trainers(const struct coordinator *coordinator)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < coordinator->session_count; i++) {
        const struct session *session = &coordinator->sessions[i];
        if (session->trains && session->presence == SESSION_LIVE) count++;
    }
    return count;
}

void coordinator_sessions_append(struct coordinator *coordinator, struct session session)
{
    coordinator->sessions =
        coordinator_grow(coordinator->sessions, coordinator->session_count,
                         &coordinator->session_capacity, sizeof *coordinator->sessions);
    coordinator->sessions[coordinator->session_count++] = session;
}

/* ---- joining -----------------------------------------------------------------------------------
 */

static void answer_join(struct turn *turn, const struct parked_join *join, uint64_t session)
{
    Anthill__SlotMap map;
    coordinator_shards_map(turn->coordinator, &map);
    Anthill__JoinReply reply = ANTHILL__JOIN_REPLY__INIT;
    reply.session = session;
    reply.map = &map;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_JOIN_REPLY;
    envelope.join_reply = &reply;
    coordinator_reply(turn, join->peer, join->request, &envelope);
}

/* All workers must see the same graph: an epoch's leases are ranges of its training seeds. */
static enum status check_data(const struct coordinator *coordinator, const struct parked_join *join,
                              struct error *error)
{
    if (!join->trains) return STATUS_OK;
    if (join->seed_count == 0)
        return error_set(error, STATUS_CONFIG, "%s: the graph has no training seeds", join->name);
    const struct coordinator_options *options = &coordinator->options;
    uint64_t batches = (join->seed_count - 1) / options->batch + 1;
    if (coordinator_turns_on(coordinator) && batches < options->worker_count) {
        return error_set(error, STATUS_CONFIG,
                         "consistency.clock_batches: %u workers take turns, but an epoch has only "
                         "%llu batches: expected one for each worker at least",
                         options->worker_count, (unsigned long long)batches);
    }
    if (coordinator->seed_count == 0) return STATUS_OK;
    if (join->seed_count != coordinator->seed_count) {
        return error_set(error, STATUS_CONFIG,
                         "%s sees %llu training seeds, the workers before it %llu: all must have "
                         "the same graph",
                         join->name, (unsigned long long)join->seed_count,
                         (unsigned long long)coordinator->seed_count);
    }
    if (join->graph_checksum != coordinator->graph_checksum) {
        return error_set(error, STATUS_CONFIG,
                         "%s sees a graph with checksum %016llx, the workers before it %016llx: "
                         "all must have the same graph",
                         join->name, (unsigned long long)join->graph_checksum,
                         (unsigned long long)coordinator->graph_checksum);
    }
    return STATUS_OK;
}

/* The session that this Join continues: named by it, or given to the same request before. */
static struct session *session_of_join(struct coordinator *coordinator,
                                       const struct parked_join *join)
{
    if (join->session != 0) return coordinator_sessions_find(coordinator, join->session);
    for (uint32_t i = coordinator->session_count; i > 0; i--) {
        struct session *session = &coordinator->sessions[i - 1];
        bool same = session->join_peer == join->peer && session->join_request == join->request;
        if (same && join->peer != 0 && session->presence == SESSION_LIVE) return session;
    }
    return NULL;
}

static void new_session(struct turn *turn, const struct parked_join *join)
{
    struct coordinator *coordinator = turn->coordinator;
    struct session session = {
        .id = coordinator->session_next++,
        .name = coordinator_copy(join->name, SESSION_NAME_MAX),
        .trains = join->trains,
        .join_peer = join->peer,
        .join_request = join->request,
        .map_peer = join->peer,
        .seen_ns = turn->now_ns,
        .announced = true,
    };
    coordinator_sessions_append(coordinator, session);
    turn->effects->save = true;
    coordinator_log(turn, EFFECT_INFO, "session_opened", "session=%llu name=%s trains=%d",
                    (unsigned long long)session.id, session.name, (int)session.trains);
    if (!join->trains) return;
    coordinator->worker_seen_ns = turn->now_ns;
    if (coordinator->seed_count != 0) return;
    coordinator->seed_count = join->seed_count;
    coordinator->graph_checksum = join->graph_checksum;
    coordinator_leases_begin(turn);
}

static void revive(struct turn *turn, struct session *session)
{
    session->seen_ns = turn->now_ns;
    if (session->presence == SESSION_LIVE) return;
    session->presence = SESSION_LIVE;
    session->announced = true;
    turn->effects->save = true;
    coordinator_log(turn, EFFECT_INFO, "session_back", "session=%llu name=%s",
                    (unsigned long long)session->id, session->name);
}

static void admit(struct turn *turn, const struct parked_join *join)
{
    struct coordinator *coordinator = turn->coordinator;
    struct error error = {0};
    if (coordinator_stopping(coordinator)) {
        bool failed = coordinator->status != STATUS_OK;
        coordinator_reply_error(
            turn, join->peer, join->request, failed ? coordinator->status : STATUS_STOPPED,
            "the run is over%s%s", failed ? ": " : "", failed ? coordinator->text : "");
        return;
    }
    if (check_data(coordinator, join, &error) != STATUS_OK) {
        outbox_put_error(turn->outbox, join->peer, join->request, &error);
        return;
    }
    struct session *session = session_of_join(coordinator, join);
    if (session != NULL) {
        revive(turn, session);
        session->map_peer = join->peer;
        answer_join(turn, join, session->id);
    } else if (coordinator->session_count >= SESSIONS_MAX) {
        coordinator_reply_error(turn, join->peer, join->request, STATUS_BUSY,
                                "%d sessions are open", SESSIONS_MAX);
    } else {
        new_session(turn, join);
        answer_join(turn, join, coordinator->session_next - 1);
    }
}

void coordinator_sessions_answer(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    if (!coordinator_shards_ready(coordinator) && !coordinator_stopping(coordinator)) return;
    for (uint32_t i = 0; i < coordinator->join_count; i++) {
        admit(turn, &coordinator->joins[i]);
        free(coordinator->joins[i].name);
    }
    coordinator->join_count = 0;
}

void coordinator_sessions_join(struct turn *turn, const struct message *message)
{
    const Anthill__Join *join = message->envelope->join;
    struct coordinator *coordinator = turn->coordinator;
    uint64_t request = message->envelope->request;
    if (join->trains) coordinator->worker_seen_ns = turn->now_ns;
    for (uint32_t i = 0; i < coordinator->join_count; i++) {
        const struct parked_join *parked = &coordinator->joins[i];
        if (parked->peer == message->peer && parked->request == request) return;
    }
    if (coordinator->join_count >= SESSIONS_MAX) {
        coordinator_reply_error(turn, message->peer, request, STATUS_BUSY,
                                "%d others wait for the servers", SESSIONS_MAX);
        return;
    }
    coordinator->joins = coordinator_grow(coordinator->joins, coordinator->join_count,
                                          &coordinator->join_capacity, sizeof *coordinator->joins);
    coordinator->joins[coordinator->join_count++] = (struct parked_join){
        .peer = message->peer,
        .request = request,
        .session = join->session,
        .seed_count = join->seed_count,
        .graph_checksum = join->graph_checksum,
        .name = coordinator_copy(join->name, SESSION_NAME_MAX),
        .trains = join->trains,
    };
}

/* ---- staying and going -------------------------------------------------------------------------
 */

struct session *coordinator_sessions_of(struct turn *turn, const struct message *message)
{
    const Anthill__Envelope *envelope = message->envelope;
    struct session *session = coordinator_sessions_find(turn->coordinator, envelope->session);
    if (session == NULL) {
        coordinator_reply_error(turn, message->peer, envelope->request, STATUS_NOT_FOUND,
                                "session %llu is not known to this coordinator",
                                (unsigned long long)envelope->session);
        return NULL;
    }
    /* What a session that has left sent before is on its way still; it does not come back by it. */
    if (session->presence != SESSION_LEFT) revive(turn, session);
    if (session->trains && session->presence == SESSION_LIVE)
        turn->coordinator->worker_seen_ns = turn->now_ns;
    return session;
}

void coordinator_sessions_activate(struct turn *turn, struct session *session)
{
    if (session->active) return;
    session->active = true;
    turn->effects->save = true;
}

void coordinator_sessions_heartbeat(struct turn *turn, const struct message *message)
{
    const Anthill__Heartbeat *beat = message->envelope->heartbeat;
    struct coordinator *coordinator = turn->coordinator;
    struct session *session = coordinator_sessions_of(turn, message);
    if (session == NULL) return;
    if (beat->n_leases > HEARTBEAT_LEASES_MAX) {
        coordinator_reply_error(turn, message->peer, message->envelope->request, STATUS_INVALID,
                                "Heartbeat with %zu leases; at most %d are expected",
                                beat->n_leases, HEARTBEAT_LEASES_MAX);
        return;
    }
    coordinator_sessions_activate(turn, session);
    session->announced = true;
    session->seeds_done = beat->seeds_done;
    uint64_t *lost = malloc((beat->n_leases + 1) * sizeof *lost);
    CHECK(lost != NULL);
    Anthill__HeartbeatReply reply = ANTHILL__HEARTBEAT_REPLY__INIT;
    reply.map_version = coordinator->map_version;
    reply.lost = lost;
    for (size_t i = 0; i < beat->n_leases; i++) {
        if (!coordinator_leases_renew(turn, session, beat->leases[i]))
            lost[reply.n_lost++] = beat->leases[i];
    }
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HEARTBEAT_REPLY;
    envelope.heartbeat_reply = &reply;
    coordinator_reply(turn, message->peer, message->envelope->request, &envelope);
    free(lost);
}

/* The session trains no more: its leases are free, and it holds nobody up on the shards. */
static void session_gone(struct turn *turn, struct session *session, enum session_presence presence)
{
    session->presence = presence;
    session->gone_ns = turn->now_ns;
    session->seeds_done = 0;
    turn->effects->save = true;
    coordinator_leases_release(turn, session->id);
    if (session->trains) coordinator_threads_order_all(turn, false);
}

/* Those that went first are forgotten once there are too many of them. */
static void forget_old(struct coordinator *coordinator)
{
    uint32_t gone = 0, kept = 0;
    for (uint32_t i = 0; i < coordinator->session_count; i++)
        gone += coordinator->sessions[i].presence != SESSION_LIVE;
    for (uint32_t i = 0; i < coordinator->session_count; i++) {
        struct session session = coordinator->sessions[i];
        if (session.presence != SESSION_LIVE && gone > SESSIONS_GONE_MAX) {
            gone--;
            free(session.name);
        } else {
            coordinator->sessions[kept++] = session;
        }
    }
    coordinator->session_count = kept;
}

void coordinator_sessions_leave(struct turn *turn, const struct message *message)
{
    const Anthill__Leave *leave = message->envelope->leave;
    struct coordinator *coordinator = turn->coordinator;
    struct session *session = coordinator_sessions_find(coordinator, message->envelope->session);
    if (session != NULL && session->presence != SESSION_LEFT) {
        bool well = leave->status == STATUS_OK || leave->status == STATUS_STOPPED;
        bool was_live = session->presence == SESSION_LIVE;
        session_gone(turn, session, SESSION_LEFT);
        if (!well && was_live && session->trains && !coordinator_stopping(coordinator))
            coordinator->workers_lost++;
        coordinator_log(turn, well ? EFFECT_INFO : EFFECT_WARN, "session_left",
                        "session=%llu name=%s status=%s text=%s", (unsigned long long)session->id,
                        session->name, status_name((enum status)leave->status), leave->text);
        if (leave->fatal) {
            enum status status = (enum status)leave->status;
            if (leave->status == STATUS_OK || leave->status > STATUS_LAST) status = STATUS_INVALID;
            coordinator_stop(turn, status, "%s: %s", session->name,
                             *leave->text != '\0' ? leave->text : status_name(status));
        }
        forget_old(coordinator);
    }
    /* A repeated or unknown one is answered too: who leaves must not wait. */
    Anthill__LeaveReply reply = ANTHILL__LEAVE_REPLY__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEAVE_REPLY;
    envelope.leave_reply = &reply;
    coordinator_reply(turn, message->peer, message->envelope->request, &envelope);
}

static void session_silent(struct turn *turn, struct session *session)
{
    struct coordinator *coordinator = turn->coordinator;
    bool lost = session->trains && session->active && !coordinator_stopping(coordinator);
    if (lost) coordinator->workers_lost++;
    coordinator_log(turn, lost ? EFFECT_WARN : EFFECT_INFO, "session_silent",
                    "session=%llu name=%s seconds=%.1f", (unsigned long long)session->id,
                    session->name, (double)(turn->now_ns - session->seen_ns) * 1e-9);
    session_gone(turn, session, SESSION_SILENT);
}

static void check_workers(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    bool needed = coordinator->phase <= PHASE_EVALUATING;
    if (coordinator_sessions_trainers(coordinator) > 0) coordinator->worker_seen_ns = turn->now_ns;
    uint64_t timeout_ns = coordinator->options.timeout_ns;
    if (!needed || turn->now_ns - coordinator->worker_seen_ns < timeout_ns) return;
    const char *last = NULL;
    for (uint32_t i = 0; i < coordinator->session_count; i++) {
        if (coordinator->sessions[i].trains) last = coordinator->sessions[i].name;
    }
    coordinator_stop(turn, STATUS_UNAVAILABLE, "no worker %s for %g s%s%s",
                     last == NULL ? "has joined" : "is left", (double)timeout_ns * 1e-9,
                     last == NULL ? "" : "; the last one was ", last == NULL ? "" : last);
}

void coordinator_sessions_tick(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    bool changed = false;
    for (uint32_t i = 0; i < coordinator->session_count; i++) {
        struct session *session = &coordinator->sessions[i];
        if (session->presence != SESSION_LIVE) continue;
        /* One that has not begun to work may be opening a large graph. */
        bool works = session->trains && session->active;
        uint64_t limit_ns = works ? coordinator->options.lease_ns : coordinator->options.timeout_ns;
        if (turn->now_ns - session->seen_ns < limit_ns) continue;
        session_silent(turn, session);
        changed = true;
    }
    if (changed) forget_old(coordinator);
    check_workers(turn);
}

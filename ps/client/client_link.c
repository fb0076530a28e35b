#include "ps/client/client_link.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/client/client_message.h"
#include "ps/push_window.h"

#define RESEND_NS     LINK_SECOND_NS
#define RESEND_MAX_NS (5 * LINK_SECOND_NS)
#define BUSY_NS       (LINK_SECOND_NS / 50)
#define BUSY_MAX_NS   LINK_SECOND_NS
#define STUCK_NS      (LINK_SECOND_NS / 50)
/* A pull waits inside a living shard while slower trainers catch up; so many timeouts long. */
#define PARKED_TIMEOUTS 10

/* So many answers that the session is unknown are no copies that came late any more. */
#define UNKNOWN_MAX 16

#define HELLO_ID_BIT (UINT64_C(1) << 63)

static char *copy_string(const char *string)
{
    char *copied = strdup(string);
    CHECK(copied != NULL);
    return copied;
}

/* Thread i of the run has the name of shard i. */
static void take_name(struct client_link *link, const Anthill__SlotMap *map)
{
    const Anthill__ShardEntry *primary = map->shards[map->shards[link->index]->primary];
    link->server = primary->server;
    link->shard = primary->shard;
}

void client_link_init(struct client_link *link, uint32_t index, const Anthill__SlotMap *map)
{
    *link = (struct client_link){
        .index = index,
        .endpoint = copy_string(map->shards[index]->endpoint),
        .map_incarnation = map->shards[index]->incarnation,
        .sequence_next = 1,
    };
    take_name(link, map);
}

void client_link_deinit(struct client_link *link)
{
    free(link->endpoint);
    free(link->table_ids);
    outbox_deinit(&link->outbox);
}

/* The shard has to be asked for the session before anything else. */
static void close_session(struct client_link *link)
{
    link->state = LINK_CLOSED;
    link->hello_id = 0;
    link->hello_due_ns = 0;
    link->tables_open = 0;
}

/* Those that were refused may do now. */
static void hurry(struct client_link *link)
{
    const struct part_list *lists[2] = {&link->pushes_sent, &link->pulls_sent};
    for (unsigned i = 0; i < 2; i++) {
        for (struct part *part = lists[i]->head; part != NULL; part = part->next) {
            if (part->refused_ns == 0) continue;
            part->due_ns = 0;
            part->refused_delay_ns = BUSY_NS;
            link->due_ns = 0;
        }
    }
}

void client_link_update(struct client_link *link, const Anthill__SlotMap *map)
{
    const Anthill__ShardEntry *entry = map->shards[link->index];
    bool moved = strcmp(link->endpoint, entry->endpoint) != 0;
    if (moved) {
        free(link->endpoint);
        link->endpoint = copy_string(entry->endpoint);
        outbox_clear(&link->outbox);
        link->outbox_sent = 0;
        link->waiting_ns = 0; /* the one before was waited for */
        link->refused_ns = 0;
    }
    take_name(link, map);
    link->map_incarnation = entry->incarnation;
    if (moved || (link->incarnation != 0 && link->incarnation != entry->incarnation)) {
        close_session(link);
    }
    hurry(link);
}

static bool is_sequenced(const struct part *part)
{
    return !part_kind_reads(part->kind);
}

void client_link_add(struct client_link *link, struct part *part)
{
    part->order = ++link->order;
    part_list_append(is_sequenced(part) ? &link->pushes_waiting : &link->pulls_waiting, part);
}

void client_link_add_first(struct client_link *link, struct part *part)
{
    part_list_prepend(is_sequenced(part) ? &link->pushes_waiting : &link->pulls_waiting, part);
}

bool client_link_idle(const struct client_link *link)
{
    return link->pulls_waiting.count + link->pulls_sent.count + link->pushes_waiting.count +
               link->pushes_sent.count ==
           0;
}

/* A shard that has restarted counts versions anew: everything is newer. Copies that are still being
 * sent keep the old buffer. */
static void forget_versions(struct part *part)
{
    size_t bytes = part->key_count * sizeof(uint32_t);
    struct part_buffer *fresh = part_buffer_create(part->key_count, bytes);
    CHECK(fresh != NULL);
    memcpy(part_buffer_keys(fresh), part_buffer_keys(part->buffer),
           part->key_count * sizeof(uint64_t));
    memset(part_buffer_values(fresh), 0, bytes);
    part_buffer_unref(part->buffer);
    part->buffer = fresh;
}

/* Puts a copy of the part into the outbox and decides when the next one is due. */
static void send_part(struct client_link *link, struct client_shared *shared, struct part *part,
                      uint64_t now_ns)
{
    if (part->block != 0 && !link->memory_mapped) client_blocks_leave(&shared->blocks, part);
    if (part->conditional && part->restarts != shared->restarts) forget_versions(part);
    part->restarts = shared->restarts;
    part->incarnation = link->incarnation;
    part->process = link->process;
    client_message_part(link, shared, part);
    if (part->copies++ == 0) {
        part->first_sent_ns = now_ns;
        part->delay_ns = RESEND_NS;
    } else if (part->delay_ns < RESEND_MAX_NS) {
        part->delay_ns = part->delay_ns * 2 < RESEND_MAX_NS ? part->delay_ns * 2 : RESEND_MAX_NS;
    }
    part->due_ns = now_ns + part->delay_ns;
    if (part->due_ns < link->due_ns) link->due_ns = part->due_ns;
    if (link->waiting_ns == 0) link->waiting_ns = now_ns;
}

/* Asks the shard to open the session with all tables. An open link asks again without tables to see
 * whether the shard is alive: a pull that waits for slower trainers is not answered. */
static void send_hello(struct client_link *link, struct client_shared *shared, uint64_t now_ns)
{
    bool alive_only = link->state == LINK_OPEN && link->tables_open == shared->table_count;
    if (!alive_only) link->state = LINK_OPENING;
    link->hello_tables = alive_only ? 0 : shared->table_count;
    link->hello_id = HELLO_ID_BIT | ++shared->hello_serial;
    link->hello_delay_ns = RESEND_NS;
    link->hello_due_ns = now_ns + link->hello_delay_ns;
    if (link->waiting_ns == 0) link->waiting_ns = now_ns;
    client_message_hello(link, shared, link->hello_id, link->hello_tables);
}

/* Tells the shard of an idle client that it is there. The answer is of no interest: what is wrong
 * is found out when there is something to ask for. */
static void keep_session(struct client_link *link, struct client_shared *shared, uint64_t now_ns)
{
    uint64_t last_ns = link->heard_ns > link->kept_ns ? link->heard_ns : link->kept_ns;
    if (now_ns - last_ns < LINK_KEEP_NS || !client_link_idle(link)) return;
    link->kept_ns = now_ns;
    client_message_hello(link, shared, HELLO_ID_BIT | ++shared->hello_serial, 0);
}

static bool may_send_sequenced(const struct client_link *link, const struct part *part)
{
    if (part->awaits_entry) return false;
    const struct part *oldest = link->pushes_sent.head;
    if (oldest == NULL) return true;
    if (part->kind == PART_ADVANCE || link->pushes_sent.tail->kind == PART_ADVANCE) return false;
    return link->sequence_next - oldest->sequence < LINK_SEQUENCES_MAX;
}

/* The first waiting part that changes rows; its order is the lowest of them. */
static const struct part *first_change(const struct client_link *link)
{
    const struct part *part = link->pushes_waiting.head;
    while (part != NULL && part->kind == PART_ADVANCE)
        part = part->next;
    return part;
}

static void send_waiting(struct client_link *link, struct client_shared *shared, uint64_t now_ns)
{
    for (struct part *part; (part = link->pushes_waiting.head) != NULL;) {
        if (!may_send_sequenced(link, part)) break;
        part_list_remove(&link->pushes_waiting, part);
        part->sequence = link->sequence_next++;
        part_list_append(&link->pushes_sent, part);
        send_part(link, shared, part, now_ns);
    }
    const struct part *change = first_change(link);
    for (struct part *part = link->pulls_waiting.head, *next; part != NULL; part = next) {
        next = part->next;
        if (link->pulls_sent.count >= LINK_PULLS_MAX) break;
        if (change != NULL && change->order < part->order) break;
        if (part->awaits_entry) continue;
        part_list_remove(&link->pulls_waiting, part);
        part_list_append(&link->pulls_sent, part);
        send_part(link, shared, part, now_ns);
    }
}

/* Offers what stood in a block for the primary before to the one that serves now, under another id.
 * False while the one before may be writing to its rows. */
static bool offer_to_next(struct client_shared *shared, struct part *part, uint64_t now_ns)
{
    bool at_rows = part->kind == PART_PULL && !client_blocks_withdraw(&shared->blocks, part) &&
                   !client_blocks_left(&shared->blocks, part);
    if (at_rows) {
        if (part->stuck_ns == 0) part->stuck_ns = now_ns;
        return false;
    }
    part->stuck_ns = 0;
    part_pool_renew(&shared->pool, part);
    client_blocks_offer_again(&shared->blocks, part);
    return true;
}

static void send_again(struct client_link *link, struct client_shared *shared,
                       const struct part_list *list, uint64_t now_ns)
{
    for (struct part *part = list->head; part != NULL; part = part->next) {
        if (part->due_ns > now_ns) {
            if (part->due_ns < link->due_ns) link->due_ns = part->due_ns;
            continue;
        }
        if (part->stuck_ns != 0 && !offer_to_next(shared, part, now_ns)) {
            part->due_ns = now_ns + STUCK_NS;
            if (part->due_ns < link->due_ns) link->due_ns = part->due_ns;
            /* Nothing is asked of the shard: it says meanwhile that it lives. */
            bool quiet = now_ns - link->heard_ns >= RESEND_NS;
            if (quiet && link->hello_id == 0) send_hello(link, shared, now_ns);
            continue;
        }
        shared->map_wanted = true;
        bool refused = part->busy_ns != 0 && now_ns - part->busy_ns < RESEND_NS;
        if (part->kind == PART_PULL && !refused && link->hello_id == 0) {
            send_hello(link, shared, now_ns);
        }
        send_part(link, shared, part, now_ns);
    }
}

static void check_silence(struct client_link *link, const struct client_shared *shared,
                          uint64_t now_ns)
{
    if (link->waiting_ns == 0) return;
    uint64_t since_ns = link->heard_ns > link->waiting_ns ? link->heard_ns : link->waiting_ns;
    if (now_ns - since_ns < shared->timeout_ns) return;
    double silent_s = (double)(now_ns - since_ns) / (double)LINK_SECOND_NS;
    uint64_t asked_ns = shared->map_asked_ns;
    if (asked_ns == 0 || now_ns - asked_ns < shared->timeout_ns / 2) {
        link->status = error_set(&link->error, STATUS_UNAVAILABLE,
                                 "server %u shard %u at %s has not answered for %.1f s",
                                 link->server, link->shard, link->endpoint, silent_s);
        return;
    }
    link->status =
        error_set(&link->error, STATUS_UNAVAILABLE,
                  "server %u shard %u at %s has not answered for %.1f s, nor has the "
                  "coordinator at %s, which would name another server, for %.1f s",
                  link->server, link->shard, link->endpoint, silent_s, shared->coordinator,
                  (double)(now_ns - asked_ns) / (double)LINK_SECOND_NS);
}

void client_link_tick(struct client_link *link, struct client_shared *shared, uint64_t now_ns)
{
    if (link->status != STATUS_OK) return;
    /* A shard that may have forgotten the session is asked for it before pushes go out. */
    bool stale = link->state == LINK_OPEN && now_ns - link->heard_ns > LINK_STALE_NS;
    if (stale && !client_link_idle(link)) close_session(link);
    bool opens = link->state != LINK_OPEN || link->tables_open < shared->table_count;
    if (opens && link->hello_id == 0 && now_ns >= link->hello_due_ns) {
        send_hello(link, shared, now_ns);
    }
    /* While older messages cannot leave, copies would only pile up behind them. */
    bool clogged = link->outbox.count > link->outbox_sent;
    if (link->hello_id != 0 && now_ns >= link->hello_due_ns && !clogged) {
        client_message_hello(link, shared, link->hello_id, link->hello_tables);
        shared->map_wanted = true;
        if (link->hello_delay_ns < RESEND_MAX_NS) link->hello_delay_ns += RESEND_NS;
        link->hello_due_ns = now_ns + link->hello_delay_ns;
    }
    if (!opens) {
        if (now_ns >= link->due_ns && !clogged) {
            link->due_ns = UINT64_MAX;
            send_again(link, shared, &link->pushes_sent, now_ns);
            send_again(link, shared, &link->pulls_sent, now_ns);
        }
        send_waiting(link, shared, now_ns);
        if (link->hello_id == 0 && !clogged) keep_session(link, shared, now_ns);
    }
    check_silence(link, shared, now_ns);
}

/* Whatever is unanswered goes out again at the next tick. When the shard has `restarted`, or
 * another thread serves it, nothing that was said before counts, and blocks are offered again. */
static void repeat_all(struct client_link *link, struct client_shared *shared, bool restarted,
                       uint64_t now_ns)
{
    const struct part_list *lists[2] = {&link->pushes_sent, &link->pulls_sent};
    for (unsigned i = 0; i < 2; i++) {
        for (struct part *part = lists[i]->head; part != NULL; part = part->next) {
            part->due_ns = 0;
            if (!restarted) continue;
            part->refused_ns = part->busy_ns = 0;
            if (part->block != 0) {
                (void)offer_to_next(shared, part, now_ns);
            } else {
                part_pool_renew(&shared->pool, part);
            }
        }
    }
    link->due_ns = 0;
}

/* The shard was not asked for so long that it has forgotten the session, and with it which pushes
 * it has applied: those without an answer end, and are never sent again. Advances are, since one
 * too many is harmless. */
static void session_forgotten(struct client_link *link)
{
    close_session(link);
    link->known = false;
    link->forgotten = true;
    for (struct part *part; (part = link->pushes_sent.tail) != NULL;) {
        part_list_remove(&link->pushes_sent, part);
        if (part->kind == PART_ADVANCE) {
            part->copies = 0;
            part_list_prepend(&link->pushes_waiting, part);
        } else {
            part_list_prepend(&link->lost, part);
        }
    }
    link->lost_count = link->lost.count;
}

struct part *client_link_take_lost(struct client_link *link, const struct client_shared *shared,
                                   struct error *error)
{
    struct part *part = link->lost.head;
    if (part == NULL) return NULL;
    part_list_remove(&link->lost, part);
    error_set(error, STATUS_EXPIRED,
              "server %u shard %u at %s has forgotten session %llu after a long silence: a push of "
              "table %s, one of %u without an answer, may or may not have been applied",
              link->server, link->shard, link->endpoint, (unsigned long long)shared->session,
              shared->tables[part->table]->name, link->lost_count);
    return part;
}

/* A time, if there is one, `ns` later, but not after now: what has been heard since is not old. */
static void put_off(uint64_t *time_ns, uint64_t ns, uint64_t now_ns)
{
    if (*time_ns != 0) *time_ns = now_ns - *time_ns > ns ? *time_ns + ns : now_ns;
}

void client_link_slept(struct client_link *link, uint64_t now_ns, uint64_t ns)
{
    if (link->waiting_ns == 0) return;
    if (link->waiting_ns < link->heard_ns) link->waiting_ns = link->heard_ns;
    put_off(&link->waiting_ns, ns, now_ns);
    put_off(&link->refused_ns, ns, now_ns);
    const struct part_list *lists[2] = {&link->pushes_sent, &link->pulls_sent};
    for (unsigned i = 0; i < 2; i++) {
        for (struct part *part = lists[i]->head; part != NULL; part = part->next) {
            put_off(&part->first_sent_ns, ns, now_ns);
            put_off(&part->refused_ns, ns, now_ns);
        }
    }
}

/* A shard that has restarted or forgotten the session does not know that it trains: say it before
 * the pushes come again, or behind them when the window has no number left. */
static void enter_again(struct client_link *link, struct client_shared *shared, uint64_t now_ns)
{
    const struct part *oldest = link->pushes_sent.head, *newest = link->pushes_sent.tail;
    if (newest != NULL && newest->kind == PART_ADVANCE) return; /* it enters, or leaves */
    bool room = oldest == NULL || link->sequence_next - oldest->sequence < PUSH_WINDOW;
    const struct part *next = link->pushes_waiting.head;
    if (!room && next != NULL && next->kind == PART_ADVANCE) return; /* the same, later */
    struct part *part = part_pool_take(&shared->pool);
    part->kind = PART_ADVANCE;
    part->link = link->index;
    part->clock = link->clock;
    if (!room) {
        client_link_add_first(link, part);
        return;
    }
    part->sequence = link->sequence_next++;
    part_list_append(&link->pushes_sent, part);
    send_part(link, shared, part, now_ns);
}

static void handle_hello_reply(struct client_link *link, struct client_shared *shared,
                               uint64_t now_ns, const Anthill__HelloReply *reply)
{
    uint32_t table_count = link->hello_tables;
    bool was_open = link->state == LINK_OPEN;
    bool restarted = link->incarnation != 0 && link->incarnation != reply->incarnation;
    bool enters = (restarted || link->forgotten) && shared->trains;
    link->hello_id = 0;
    link->hello_due_ns = 0;
    link->refused_ns = 0;
    link->memory_mapped = reply->memory_mapped && shared->blocks.base != NULL;
    link->process = reply->process;
    if (was_open && !restarted && table_count == 0) return;
    if (was_open && restarted) { /* found out by asking whether it is alive */
        close_session(link);
        return;
    }
    if (reply->n_table_ids != table_count) {
        link->status =
            error_set(&link->error, STATUS_CORRUPT,
                      "server %u shard %u at %s answers for %zu tables instead of %u", link->server,
                      link->shard, link->endpoint, reply->n_table_ids, table_count);
        return;
    }
    free(link->table_ids);
    link->table_ids = malloc((table_count + 1) * sizeof *link->table_ids);
    CHECK(link->table_ids != NULL);
    if (table_count > 0) {
        memcpy(link->table_ids, reply->table_ids, table_count * sizeof *link->table_ids);
    }
    link->tables_open = table_count;
    link->state = LINK_OPEN;
    link->known = true;
    link->forgotten = false;
    link->incarnation = reply->incarnation;
    if (reply->sequence_next > link->sequence_next) link->sequence_next = reply->sequence_next;
    shared->restarts += restarted;
    repeat_all(link, shared, restarted, now_ns);
    if (enters) enter_again(link, shared, now_ns);
}

/* Not STATUS_BUSY, which says of a request that it is under way. */
static enum status busy_error(const struct client_link *link, uint64_t since_ns,
                              struct error *error)
{
    return error_set(error, STATUS_UNAVAILABLE,
                     "server %u shard %u at %s has been busy for %.1f s: %s", link->server,
                     link->shard, link->endpoint, (double)since_ns / (double)LINK_SECOND_NS,
                     link->busy.text);
}

static void handle_hello_error(struct client_link *link, struct client_shared *shared,
                               uint64_t now_ns, const Anthill__Envelope *envelope)
{
    struct error error;
    enum status status = wire_error(envelope, &error);
    if (status == STATUS_EXPIRED && link->known) {
        session_forgotten(link);
        return;
    }
    if (link->refused_ns == 0) link->refused_ns = now_ns;
    if (status == STATUS_BUSY && now_ns - link->refused_ns < shared->timeout_ns) {
        shared->map_wanted = true;
        link->hello_due_ns = now_ns + BUSY_NS;
        return;
    }
    link->status = status;
    link->error = error;
    if (status == STATUS_BUSY) {
        link->busy = error;
        link->status = busy_error(link, now_ns - link->refused_ns, &link->error);
        return;
    }
    error_wrap(&link->error, status, "server %u shard %u at %s", link->server, link->shard,
               link->endpoint);
}

/* STATUS_BUSY: try again soon; STATUS_OK: the part stays for another reason. */
static enum status handle_part_error(struct client_link *link, struct client_shared *shared,
                                     uint64_t now_ns, struct part *part,
                                     const Anthill__Envelope *envelope, struct error *error)
{
    enum status status = wire_error(envelope, error);
    if (status == STATUS_BUSY) {
        shared->map_wanted = true;
        link->busy = *error;
        /* In between it may have waited in the shard for long. */
        bool anew = part->refused_ns == 0 || now_ns - part->busy_ns > 2 * RESEND_MAX_NS;
        part->busy_ns = now_ns;
        if (anew) {
            part->refused_ns = now_ns;
            part->refused_delay_ns = BUSY_NS;
        } else if (now_ns - part->refused_ns > shared->timeout_ns) {
            return busy_error(link, now_ns - part->refused_ns, error);
        } else if (part->refused_delay_ns < BUSY_MAX_NS) {
            part->refused_delay_ns *= 2;
        }
        part->due_ns = now_ns + part->refused_delay_ns;
        if (part->due_ns < link->due_ns) link->due_ns = part->due_ns;
        return STATUS_OK;
    }
    if (status == STATUS_NOT_FOUND && part->unknown++ < UNKNOWN_MAX) {
        /* The shard does not know the session: it has started anew, or forgotten it. */
        if (link->state == LINK_OPEN) close_session(link);
        return STATUS_OK;
    }
    error_wrap(error, status, "server %u shard %u at %s", link->server, link->shard,
               link->endpoint);
    return status;
}

static bool answers(const struct part *part, const Anthill__Envelope *envelope)
{
    switch (part->kind) {
    case PART_PULL:
        return envelope->body_case == ANTHILL__ENVELOPE__BODY_PULL_REPLY;
    case PART_PUSH:
        return envelope->body_case == ANTHILL__ENVELOPE__BODY_PUSH_REPLY;
    case PART_ASSIGN:
        return envelope->body_case == ANTHILL__ENVELOPE__BODY_ASSIGN_REPLY;
    case PART_DELETE:
        return envelope->body_case == ANTHILL__ENVELOPE__BODY_DELETE_REPLY;
    case PART_SCAN:
        return envelope->body_case == ANTHILL__ENVELOPE__BODY_SCAN_REPLY;
    case PART_DESCRIBE:
        return envelope->body_case == ANTHILL__ENVELOPE__BODY_DESCRIBE_REPLY;
    case PART_ADVANCE:
        return envelope->body_case == ANTHILL__ENVELOPE__BODY_ADVANCE_REPLY;
    }
    return false;
}

/* An answer of a shard that has restarted since, while the part stands in a block: the rows are not
 * there, or the one that runs now is at them. The part is asked for again. */
static bool is_outdated(const struct client_shared *shared, const struct part *part,
                        const struct message *message)
{
    if (part->kind == PART_PULL) {
        return part->block != 0 ? !client_blocks_done(&shared->blocks, part)
                                : part->left_block && message->payload_count == 0;
    }
    return part->block != 0 && client_blocks_taken(&shared->blocks, part);
}

struct part *client_link_receive(struct client_link *link, struct client_shared *shared,
                                 uint64_t now_ns, const struct message *message,
                                 enum status *status, struct error *error)
{
    const Anthill__Envelope *envelope = message->envelope;
    link->heard_ns = now_ns;
    if (envelope->request & HELLO_ID_BIT) {
        if (envelope->request != link->hello_id) return NULL;
        if (envelope->body_case == ANTHILL__ENVELOPE__BODY_HELLO_REPLY) {
            handle_hello_reply(link, shared, now_ns, envelope->hello_reply);
        } else if (envelope->body_case == ANTHILL__ENVELOPE__BODY_ERROR) {
            handle_hello_error(link, shared, now_ns, envelope);
        }
        if (client_link_idle(link) && link->hello_id == 0) link->waiting_ns = 0;
        return NULL;
    }
    struct part *part = part_pool_find(&shared->pool, envelope->request);
    if (part == NULL || part->link != link->index) return NULL; /* answered before */
    if (part->copies == 0) return NULL;
    if (envelope->body_case == ANTHILL__ENVELOPE__BODY_ERROR) {
        *status = handle_part_error(link, shared, now_ns, part, envelope, error);
        if (*status == STATUS_OK) return NULL;
    } else if (answers(part, envelope)) {
        if (is_outdated(shared, part, message)) return NULL;
        *status = STATUS_OK;
        if (part->kind == PART_ADVANCE) link->clock = envelope->advance_reply->clock;
    } else {
        *status =
            error_set(error, STATUS_CORRUPT, "server %u shard %u at %s answers with message %d",
                      link->server, link->shard, link->endpoint, (int)envelope->body_case);
    }
    client_link_remove(link, part);
    return part;
}

void client_link_remove(struct client_link *link, struct part *part)
{
    struct part_list *waiting = is_sequenced(part) ? &link->pushes_waiting : &link->pulls_waiting;
    struct part_list *sent = is_sequenced(part) ? &link->pushes_sent : &link->pulls_sent;
    part_list_remove(part->copies == 0 ? waiting : sent, part);
    if (link->pulls_sent.count + link->pushes_sent.count == 0 && link->hello_id == 0) {
        link->waiting_ns = 0;
    }
}

static bool part_expired(const struct client_link *link, const struct client_shared *shared,
                         const struct part *part, uint64_t now_ns, struct error *error)
{
    if (part->stuck_ns != 0 && now_ns - part->stuck_ns > shared->timeout_ns) {
        error_set(error, STATUS_UNAVAILABLE,
                  "server %u shard %u at %s serves now, but process %u, which served before, has "
                  "been at the rows of a pull for %.1f s",
                  link->server, link->shard, link->endpoint, part->process,
                  (double)(now_ns - part->stuck_ns) / (double)LINK_SECOND_NS);
        return true;
    }
    if (now_ns - part->first_sent_ns > PARKED_TIMEOUTS * shared->timeout_ns) {
        error_set(error, STATUS_UNAVAILABLE,
                  "server %u shard %u at %s keeps a request of clock %llu waiting for %.1f s: "
                  "another trainer is behind",
                  link->server, link->shard, link->endpoint, (unsigned long long)part->clock,
                  (double)(now_ns - part->first_sent_ns) / (double)LINK_SECOND_NS);
        return true;
    }
    return false;
}

struct part *client_link_take_expired(struct client_link *link, const struct client_shared *shared,
                                      uint64_t now_ns, struct error *error)
{
    struct part *heads[2] = {link->pushes_sent.head, link->pulls_sent.head};
    for (unsigned i = 0; i < 2; i++) {
        for (struct part *part = heads[i]; part != NULL; part = part->next) {
            if (!part_expired(link, shared, part, now_ns, error)) continue;
            client_link_remove(link, part);
            return part;
        }
    }
    return NULL;
}

struct part *client_link_take_any(struct client_link *link)
{
    struct part *heads[4] = {link->pushes_sent.head, link->pushes_waiting.head,
                             link->pulls_sent.head, link->pulls_waiting.head};
    for (unsigned i = 0; i < 4; i++) {
        if (heads[i] == NULL) continue;
        client_link_remove(link, heads[i]);
        return heads[i];
    }
    return NULL;
}

struct message *client_link_output(struct client_link *link)
{
    if (link->outbox_sent < link->outbox.count) return &link->outbox.messages[link->outbox_sent];
    outbox_clear(&link->outbox);
    link->outbox_sent = 0;
    return NULL;
}

void client_link_sent(struct client_link *link)
{
    link->outbox_sent++;
}

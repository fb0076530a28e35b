/* The state of a client_core, shared by client_core.c (requests and links), client_start.c
 * (requests as they start) and client_session.c (the coordinator, the slot map, the clock). Nobody
 * else includes this. */
#ifndef ANTHILL_PS_CLIENT_CLIENT_STATE_H
#define ANTHILL_PS_CLIENT_CLIENT_STATE_H

#include "ps/client/client_core.h"
#include "ps/client/client_link.h"
#include "ps/client/client_request.h"

enum trainer_state { TRAINER_OUT, TRAINER_ENTERING, TRAINER_IN };

/* The coordinator is asked one thing at a time. */
enum coordinator_call { CALL_NONE, CALL_JOIN, CALL_MAP, CALL_LEAVE };

struct client_core {
    struct client_core_options options;
    struct client_shared shared;
    struct table_layout **layouts; /* beside shared.tables */

    enum coordinator_call call;
    uint64_t call_id, call_due_ns, call_since_ns, map_asked_ns;
    struct outbox outbox; /* to the coordinator */
    unsigned outbox_sent;
    bool local; /* there is no coordinator */
    bool joined, leaving, left;

    struct client_link *links;
    struct request_cut cut;
    struct pull_moments moments;
    uint32_t *owners;

    struct request *requests;
    /* Ended but for a shard that is at their rows: the caller does not get them back before. */
    struct part_list lingering;
    uint64_t now_ns; /* of the last tick */
    uint64_t ticket_next;
    uint64_t opening_ticket; /* of the table that is being opened; 0: none */
    enum status opening_status;
    struct error opening_error;

    enum trainer_state trainer;
    uint64_t clock;
    uint64_t entry_guess; /* the clock at which it asked to enter; parts in between count on it */
    uint64_t entry_clock; /* the highest that shards have answered */
    uint32_t entries_left;
    uint64_t *link_entry; /* [link_count] what each answered */
    bool idle_after_entry;

    uint64_t expiry_due_ns;
    enum status status; /* nothing goes on: the run or a server is lost */
    struct error error;
};

/* Forgets a request whose parts have ended. */
void client_core_request_free(struct client_core *core, struct request *request);

/* count + 1 zeroed items; ends the process when memory is used up. */
void *client_session_alloc(size_t count, size_t bytes);

/* Nothing goes on from here: every request ends with this, unless the client is leaving anyway. */
void client_session_fail(struct client_core *core, enum status status, const struct error *error);

/* Asks the coordinator for one thing, in place of what it was asked before. */
void client_session_call(struct client_core *core, enum coordinator_call call);
void client_session_tick(struct client_core *core, uint64_t now_ns);
void client_session_answer(struct client_core *core, uint64_t now_ns,
                           const Anthill__Envelope *envelope);

/* Enters the clock on every shard unless it has; leaves it. */
void client_session_enter(struct client_core *core);
void client_session_leave(struct client_core *core);
/* An advance of this session for one link, at its clock. */
struct part *client_session_advance(struct client_core *core, uint32_t link);
/* A shard has answered an advance. */
void client_session_advanced(struct client_core *core, const struct part *part, uint64_t clock);

#endif

/* A client's side of one shard: opens the session there, numbers pushes and advances, keeps what is
 * unanswered and sends it again. A state machine without I/O; client_core drives it. Pure.
 *
 * Sequenced parts (pushes and advances) go out in their order. At most LINK_SEQUENCES_MAX numbers
 * lie between the oldest unanswered one and the newest, so that the shard's window of 64 knows each
 * of them. An advance waits for the pushes before it to be answered, and holds back those after. A
 * pull goes out behind the pushes that were added before it: its rows show them. */
#ifndef ANTHILL_PS_CLIENT_CLIENT_LINK_H
#define ANTHILL_PS_CLIENT_CLIENT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.h"
#include "ps/client/client_blocks.h"
#include "ps/client/client_part.h"

#define LINK_SECOND_NS     UINT64_C(1000000000)
#define LINK_SEQUENCES_MAX 62 /* two of the window's 64 are left for entering again */
#define LINK_PULLS_MAX     64 /* under way at once */
/* Shards forget sessions that are silent for 600 s. An idle client says so often that it is there;
 * after so long without a word of the shard it may be too late. */
#define LINK_KEEP_NS  (120 * LINK_SECOND_NS)
#define LINK_STALE_NS (300 * LINK_SECOND_NS)

/* What the links of a client share; client_core owns it. */
struct client_shared {
    uint64_t session, map_version, timeout_ns;
    const char *coordinator; /* endpoint; the core's */
    uint64_t map_asked_ns;   /* since when it has not answered for the map; 0: it has */
    bool trains;             /* the session is in the clock, or about to enter */
    bool map_wanted;         /* set by links: the slot map may be out of date */
    Anthill__TableSpec **tables;
    uint32_t table_count;
    struct part_pool pool;
    struct client_blocks blocks;
    uint64_t hello_serial;
    uint64_t restarts; /* of shards, as far as is known */
};

enum link_state {
    LINK_CLOSED,  /* the shard does not know the session, or no longer */
    LINK_OPENING, /* Hello is on its way */
    LINK_OPEN,
};

struct client_link {
    uint32_t index;         /* in the slot map */
    uint32_t server, shard; /* the thread that serves it */
    char *endpoint;         /* owned */
    enum link_state state;
    uint64_t incarnation;     /* as the shard said it in HelloReply; 0: never */
    uint64_t map_incarnation; /* as the slot map says */
    bool memory_mapped;       /* the shard has the client's memory: parts may stand in blocks */
    uint32_t process;         /* the shard's, then */
    uint32_t tables_open;     /* the first so many of shared->tables are there */
    uint32_t *table_ids;      /* [tables_open] their numbers on this shard */
    uint64_t hello_id;        /* unanswered Hello; 0: none */
    uint32_t hello_tables;    /* how many tables it named */
    uint64_t hello_due_ns, hello_delay_ns;
    uint64_t refused_ns; /* since when Hello is answered STATUS_BUSY; 0: it is not */
    struct error busy;   /* why the shard said so last, to Hello or to a part */
    bool known;          /* the shard has had the session open, and has not said it is forgotten */
    bool forgotten;      /* it has said so, and the session is not open again */
    uint32_t lost_count; /* pushes that were unanswered then */
    uint64_t kept_ns;    /* when it was last told that an idle client is there */
    uint64_t heard_ns;   /* when the shard last said anything */
    uint64_t waiting_ns; /* since when something is unanswered; 0: nothing is */
    uint64_t due_ns;     /* nothing is to be sent again before */
    uint64_t sequence_next;
    uint64_t order; /* of the part that was added last */
    uint64_t clock; /* of the session on this shard, as last answered */
    struct part_list pulls_waiting, pulls_sent, pushes_waiting, pushes_sent;
    struct part_list lost; /* sent before the shard forgot the session: they end */
    struct outbox outbox;  /* to be sent; */
    unsigned outbox_sent;  /* the first so many are */
    /* Set when everything on this link has to end: the shard is silent or refuses the session. */
    enum status status;
    struct error error;
};

/*   map      borrowed; of more than `index` shards, whose primaries are among them */
void client_link_init(struct client_link *link, uint32_t index, const Anthill__SlotMap *map);
void client_link_deinit(struct client_link *link);

/* Takes another primary from a new slot map, and tries at once what was refused. */
void client_link_update(struct client_link *link, const Anthill__SlotMap *map);

/* Takes the part: it is sent when its turn comes. */
void client_link_add(struct client_link *link, struct part *part);
/* The same, before all that wait. */
void client_link_add_first(struct client_link *link, struct part *part);

/* Opens the session where needed, sends what may go, and what is unanswered again. */
void client_link_tick(struct client_link *link, struct client_shared *shared, uint64_t now_ns);

/* Handles a message of the shard. Returns the part that ended by it, no longer in any list, with
 * *status and `error` for how; NULL when none did. */
struct part *client_link_receive(struct client_link *link, struct client_shared *shared,
                                 uint64_t now_ns, const struct message *message,
                                 enum status *status, struct error *error);

/* The next push, assignment or deletion of which nobody will know whether it was done, because the
 * shard has forgotten the session, taken out, with the reason; NULL: none. To be asked after each
 * message. */
struct part *client_link_take_lost(struct client_link *link, const struct client_shared *shared,
                                   struct error *error);

/* The process did not run for so long: that was no silence of the shard. */
void client_link_slept(struct client_link *link, uint64_t now_ns, uint64_t ns);

/* Takes a part out of its list. */
void client_link_remove(struct client_link *link, struct part *part);

/* The next part that has waited too long although the shard is alive, taken out, with the reason;
 * NULL: none. */
struct part *client_link_take_expired(struct client_link *link, const struct client_shared *shared,
                                      uint64_t now_ns, struct error *error);

/* Any part of this link, taken out; NULL: none. To end them all. */
struct part *client_link_take_any(struct client_link *link);

/* Nothing waits and nothing is unanswered. */
bool client_link_idle(const struct client_link *link);

/* The oldest message to be sent, or NULL; client_link_sent after it went. */
struct message *client_link_output(struct client_link *link);
void client_link_sent(struct client_link *link);

#endif

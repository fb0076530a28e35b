/* For sim_model.c and sim_backups.c: what they keep of shards. */
#ifndef ANTHILL_TESTS_SIM_SIM_MODEL_H
#define ANTHILL_TESTS_SIM_SIM_MODEL_H

#include "tests/sim/sim.h"

enum { PLACES = KEYS, SESSIONS_MAX_ = 64, SEQUENCES = 1024, PULLS = 256, TRAINERS = 32, OPEN = 24 };
enum { SHIPPED = 256, ASKED = 256, INSTANCES_MAX = 3 * SHARDS_MAX };

typedef float table_rows[PLACES][FLOATS_MAX];

/* What of a shard a checkpoint holds. */
struct kept {
    table_rows rows[TABLES]; /* with the sums of open clocks */
    uint8_t taken[SESSIONS_MAX_][SEQUENCES / 8];
};

struct open_clock {
    uint64_t clock;
    table_rows sums;
};

/* Who trains and what waits, beside what a checkpoint holds: all that a backup has. */
struct state {
    struct kept now;
    struct {
        uint64_t session, clock;
    } trainers[TRAINERS];
    uint32_t trainer_count;
    uint64_t clock_min; /* never goes back */
    uint32_t open_count;
    struct open_clock open[OPEN]; /* bsp: sums that are not in the rows yet */
};

/* One instance of a shard: a primary, a backup, or one that was. */
struct model {
    const struct shard *shard; /* NULL: the place is free */
    uint32_t index;            /* in the slot map */
    uint64_t incarnation;      /* of its thread */
    struct state state;
    struct message pulls[PULLS]; /* that are not answered; a ring */
    uint32_t pull_next;
    const struct change_log *log; /* of a primary that has a backup */
    /* Of a backup: the last change that it took, and whose. */
    uint64_t primary, stream, taken;
};

/* A primary's state when a change of its stream was closed. */
struct shipped {
    uint64_t primary, stream, index; /* the primary by its incarnation */
    struct state state;
};

/* What all instances of a shard share. */
struct lineage {
    struct saved_roles roles;                    /* as the coordinator's disk has them */
    uint8_t ever[SESSIONS_MAX_][SEQUENCES / 8];  /* taken by any instance */
    uint8_t acked[SESSIONS_MAX_][SEQUENCES / 8]; /* an answer has left for the client */
    uint32_t shipped;                            /* states that were kept */
    struct asked {
        uint64_t peer, request, session, sequence;
    } asked[ASKED]; /* the last numbered requests; a ring */
    uint32_t asked_next;
};

struct cut_model {
    struct cut_model *next;
    uint32_t shard;
    uint64_t step;
    struct kept kept;
};

extern struct world_model {
    struct model models[INSTANCES_MAX];
    struct lineage lineages[SHARDS_MAX];
    struct cut_model *cuts;
    /* By session: gradients of pushes that ended well, and of those that shards took. */
    table_rows ended[SESSIONS_MAX_][TABLES], taken[SESSIONS_MAX_][TABLES];
} world;

struct model *model_find(const struct shard *shard);

static inline struct lineage *lineage_of(const struct model *model)
{
    return &world.lineages[model->index];
}

/* The place of a request's sequence among those that were taken, for `mask`. */
uint8_t *model_sequence(uint8_t taken[SESSIONS_MAX_][SEQUENCES / 8],
                        const Anthill__Envelope *request, uint8_t *mask);
/* False: it was before. */
bool model_take(uint8_t taken[SESSIONS_MAX_][SEQUENCES / 8], const Anthill__Envelope *request);
void model_find_min(struct model *model);
void model_forget_pulls(struct model *model);
/* Unpacks a reply that is still the outbox's. */
struct message model_look(const struct message *message);
/* What a shard says, from message `first` on; `asked` NULL: not because of a request. */
void model_hear_replies(struct model *model, const struct message *asked,
                        const struct outbox *outbox, unsigned first);

#endif

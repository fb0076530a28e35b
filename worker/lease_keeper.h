/* The leases that this worker holds: renews them by heartbeats and reports those that are done.
 * One thread and one connection of its own, so that a long computation does not lose a lease. */
#ifndef ANTHILL_WORKER_LEASE_KEEPER_H
#define ANTHILL_WORKER_LEASE_KEEPER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/wire.pb-c.h"

#define LEASE_METRICS_MAX 16

struct lease_metric {
    char name[32];
    double value, weight;
};

/* A lease from its grant to its report. The numbers of the grant are read by all; the metrics
 * belong to the thread that computes. */
struct held_lease {
    uint64_t id, epoch, begin, end;
    bool evaluates;
    bool takes_turn;             /* its gradients belong to a fixed clock: */
    uint64_t clock, clock_after; /* see LeaseReply */
    atomic_bool lost;            /* given to another: what is left of it need not be done */
    atomic_ullong seeds_done;    /* for the progress line */
    struct lease_metric metrics[LEASE_METRICS_MAX];
    uint32_t metric_count;
};

struct lease_keeper;

/*   owner    lease_keeper_stop */
enum status lease_keeper_start(struct lease_keeper **keeper, const char *coordinator,
                               uint64_t session, uint64_t timeout_ns,
                               struct error *error) MUST_CHECK;

/* Reports what is done, then ends the thread and frees all leases. With `leave` the coordinator is
 * told that this worker ends, and why: its leases go to others at once. NULL does nothing. */
struct lease_keeper_leave {
    enum status status;
    const char *text;
    bool fatal; /* the run cannot go on */
};
void lease_keeper_stop(struct lease_keeper *keeper, const struct lease_keeper_leave *leave);

/* Waits until fewer than `held_max` leases are held; false when the keeper has failed, a stop was
 * requested, or *cancelled became true. */
bool lease_keeper_wait_room(struct lease_keeper *keeper, uint32_t held_max,
                            const atomic_bool *cancelled);

/* Begins to renew a granted lease. The keeper owns it. Ends the process when memory is used up. */
struct held_lease *lease_keeper_add(struct lease_keeper *keeper, const Anthill__LeaseReply *grant);

/* Adds to a metric of the lease: values are averaged by weight. */
void held_lease_metric(struct held_lease *lease, const char *name, double value, double weight);

/* The lease is finished (its pushes are acknowledged) or lost: it is reported, then freed. */
void lease_keeper_done(struct lease_keeper *keeper, struct held_lease *lease);

/* STATUS_OK, or why the coordinator could not be reached. */
enum status lease_keeper_status(struct lease_keeper *keeper, struct error *error) MUST_CHECK;

#endif

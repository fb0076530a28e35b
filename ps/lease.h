/* The lease book of one epoch: which ranges of the training seeds are free, held or done. Each
 * lease becomes done once, whoever reports it and however often. Knows no messages and no workers
 * beyond the number of their session. Pure.
 * thread: the coordinator's own.
 *
 * 10 seeds in leases of 4, first id 21:   id 21 [0, 4)   id 22 [4, 8)   id 23 [8, 10) */
#ifndef ANTHILL_PS_LEASE_H
#define ANTHILL_PS_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEASE_COUNT_MAX 65536u /* in an epoch */

enum lease_state { LEASE_FREE, LEASE_HELD, LEASE_DONE };

struct lease {
    enum lease_state state;
    uint64_t session; /* the holder, while held */
    uint64_t deadline_ns;
};

struct lease_book {
    uint64_t epoch, id_first, seed_count, lease_seeds;
    uint64_t seeds_done;
    uint32_t lease_count, free_count, done_count;
    uint32_t free_hint; /* no lease below it is free */
    struct lease *leases;
};

/* Seeds of one lease: `configured` if that is not 0, else a quarter of each worker's share of an
 * epoch, in whole batches. Never more than seed_count, and never so few that an epoch has more than
 * LEASE_COUNT_MAX leases. */
uint64_t lease_seeds(uint64_t seed_count, uint32_t batch, uint32_t worker_count,
                     uint32_t configured);

/* All leases are free. Ends the process when memory is used up.
 *   owner    lease_book_deinit */
void lease_book_init(struct lease_book *book, uint64_t epoch, uint64_t id_first,
                     uint64_t seed_count, uint64_t lease_seeds);
void lease_book_deinit(struct lease_book *book);

/* True for the id of one of its leases; *index is its place. */
bool lease_book_find(const struct lease_book *book, uint64_t id, uint32_t *index);

/* The seeds [*begin, *end) of a lease. */
void lease_book_range(const struct lease_book *book, uint32_t index, uint64_t *begin,
                      uint64_t *end);

/* Gives the first free lease to `session`; false when none is free. */
bool lease_book_take(struct lease_book *book, uint64_t session, uint64_t deadline_ns,
                     uint32_t *index);

/* The same, of the leases that are its own: index % turns == turn, or one whose turn nobody `has`
 * [turns]. */
bool lease_book_take_turn(struct lease_book *book, uint64_t session, uint64_t deadline_ns,
                          uint32_t turn, uint32_t turns, const bool *has, uint32_t *index);

/* `session` says that it holds the lease: true when that is so from now on. A free lease becomes
 * its own (its holder was forgotten at a restart, or is back from a silence). */
bool lease_book_renew(struct lease_book *book, uint32_t index, uint64_t session,
                      uint64_t deadline_ns);

/* `session` has finished the lease: true when that counts, which happens once. A lease that is
 * free counts too; one that is done or that another holds does not. */
bool lease_book_done(struct lease_book *book, uint32_t index, uint64_t session);

/* All that `session` holds becomes free. Returns how many leases that were. */
uint32_t lease_book_release(struct lease_book *book, uint64_t session);

/* Leases that were not renewed until now become free. */
uint32_t lease_book_expire(struct lease_book *book, uint64_t now_ns);

static inline bool lease_book_complete(const struct lease_book *book)
{
    return book->done_count == book->lease_count;
}

/* The leases that are done as bits, lowest first: bits[(lease_count + 7) / 8]. */
void lease_book_save(const struct lease_book *book, uint8_t *bits);

/* Into a new book: what is not done is free. False when `bytes` does not fit the book. */
bool lease_book_load(struct lease_book *book, const uint8_t *bits, size_t bytes);

#endif

#include "ps/lease.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"

/* Leases of a worker in an epoch when the size is chosen here: enough that the last ones of an
 * epoch keep all workers busy, few enough that asking for them costs nothing. */
#define LEASES_PER_WORKER 4

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

uint64_t lease_seeds(uint64_t seed_count, uint32_t batch, uint32_t worker_count,
                     uint32_t configured)
{
    uint64_t seeds = configured;
    if (seeds == 0) {
        uint64_t workers = worker_count > 0 ? worker_count : 1;
        uint64_t step = batch > 0 ? batch : 1;
        seeds = divide_up(divide_up(seed_count, LEASES_PER_WORKER * workers), step) * step;
    }
    uint64_t floor = divide_up(seed_count, LEASE_COUNT_MAX);
    if (seeds < floor) seeds = floor;
    if (seeds > seed_count) seeds = seed_count;
    return seeds > 0 ? seeds : 1;
}

void lease_book_init(struct lease_book *book, uint64_t epoch, uint64_t id_first,
                     uint64_t seed_count, uint64_t seeds)
{
    CHECK(seeds > 0 && divide_up(seed_count, seeds) <= LEASE_COUNT_MAX);
    *book = (struct lease_book){
        .epoch = epoch, .id_first = id_first, .seed_count = seed_count, .lease_seeds = seeds};
    book->lease_count = (uint32_t)divide_up(seed_count, seeds);
    book->free_count = book->lease_count;
    book->leases = calloc(book->lease_count > 0 ? book->lease_count : 1, sizeof *book->leases);
    CHECK(book->leases != NULL);
}

void lease_book_deinit(struct lease_book *book)
{
    free(book->leases);
    *book = (struct lease_book){0};
}

bool lease_book_find(const struct lease_book *book, uint64_t id, uint32_t *index)
{
    if (id < book->id_first || id - book->id_first >= book->lease_count) return false;
    *index = (uint32_t)(id - book->id_first);
    return true;
}

void lease_book_range(const struct lease_book *book, uint32_t index, uint64_t *begin, uint64_t *end)
{
    CHECK(index < book->lease_count);
    *begin = index * book->lease_seeds;
    uint64_t left = book->seed_count - *begin;
    *end = *begin + (left < book->lease_seeds ? left : book->lease_seeds);
}

static void hold(struct lease_book *book, uint32_t index, uint64_t session, uint64_t deadline_ns)
{
    book->leases[index] =
        (struct lease){.state = LEASE_HELD, .session = session, .deadline_ns = deadline_ns};
    book->free_count--;
}

static void set_free(struct lease_book *book, uint32_t index)
{
    book->leases[index] = (struct lease){.state = LEASE_FREE};
    book->free_count++;
    if (index < book->free_hint) book->free_hint = index;
}

static void set_done(struct lease_book *book, uint32_t index)
{
    uint64_t begin = 0, end = 0;
    lease_book_range(book, index, &begin, &end);
    if (book->leases[index].state == LEASE_FREE) book->free_count--;
    book->leases[index] = (struct lease){.state = LEASE_DONE};
    book->done_count++;
    book->seeds_done += end - begin;
}

bool lease_book_take(struct lease_book *book, uint64_t session, uint64_t deadline_ns,
                     uint32_t *index)
{
    if (book->free_count == 0) return false;
    while (book->leases[book->free_hint].state != LEASE_FREE)
        book->free_hint++;
    *index = book->free_hint++;
    hold(book, *index, session, deadline_ns);
    return true;
}

bool lease_book_take_turn(struct lease_book *book, uint64_t session, uint64_t deadline_ns,
                          uint32_t turn, uint32_t turns, const bool *has, uint32_t *index)
{
    for (uint32_t i = book->free_hint; book->free_count > 0 && i < book->lease_count; i++) {
        bool may = i % turns == turn || !has[i % turns];
        if (!may || book->leases[i].state != LEASE_FREE) continue;
        *index = i;
        hold(book, i, session, deadline_ns);
        return true;
    }
    return false;
}

bool lease_book_renew(struct lease_book *book, uint32_t index, uint64_t session,
                      uint64_t deadline_ns)
{
    CHECK(index < book->lease_count);
    struct lease *lease = &book->leases[index];
    if (lease->state == LEASE_FREE) hold(book, index, session, deadline_ns);
    if (lease->state != LEASE_HELD || lease->session != session) return false;
    lease->deadline_ns = deadline_ns;
    return true;
}

bool lease_book_done(struct lease_book *book, uint32_t index, uint64_t session)
{
    CHECK(index < book->lease_count);
    const struct lease *lease = &book->leases[index];
    if (lease->state == LEASE_DONE) return false;
    if (lease->state == LEASE_HELD && lease->session != session) return false;
    set_done(book, index);
    return true;
}

uint32_t lease_book_release(struct lease_book *book, uint64_t session)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < book->lease_count; i++) {
        if (book->leases[i].state != LEASE_HELD || book->leases[i].session != session) continue;
        set_free(book, i);
        count++;
    }
    return count;
}

uint32_t lease_book_expire(struct lease_book *book, uint64_t now_ns)
{
    uint32_t count = 0;
    /* Most ticks find nothing to do: every lease that is out has been looked at then. */
    uint32_t held = book->lease_count - book->free_count - book->done_count;
    for (uint32_t i = 0; i < book->lease_count && held > 0; i++) {
        if (book->leases[i].state != LEASE_HELD) continue;
        held--;
        if (book->leases[i].deadline_ns > now_ns) continue;
        set_free(book, i);
        count++;
    }
    return count;
}

void lease_book_save(const struct lease_book *book, uint8_t *bits)
{
    memset(bits, 0, (book->lease_count + 7) / 8);
    for (uint32_t i = 0; i < book->lease_count; i++) {
        if (book->leases[i].state == LEASE_DONE) bits[i / 8] |= (uint8_t)(1u << (i % 8));
    }
}

bool lease_book_load(struct lease_book *book, const uint8_t *bits, size_t bytes)
{
    if (bytes != (book->lease_count + 7) / 8) return false;
    for (uint32_t i = 0; i < book->lease_count; i++) {
        if ((bits[i / 8] >> (i % 8) & 1) != 0) set_done(book, i);
    }
    return true;
}

/* Workers that take turns (consistency.clock_batches): lease i of each epoch is that of worker i
 * mod the number of workers, and belongs to a fixed clock. Which batches are summed in a clock then
 * depends neither on who is faster nor on how many workers there are. What the worker of a turn
 * that is not there would do is done by the others.
 *
 *     7 leases, 4 in a clock, 2 workers     clock     0  0  0  0  1  1  1 | 2  2 ... next epoch
 *                                           worker    0  1  0  1  0  1  0 | 0  1 ... */
#include <stdlib.h>

#include "common/check.h"
#include "ps/coordinator_internal.h"

bool coordinator_turns_on(const struct coordinator *coordinator)
{
    return coordinator->options.clock_leases > 0;
}

static uint32_t turns(const struct coordinator *coordinator)
{
    uint32_t count = coordinator->options.worker_count;
    return count > 0 ? count : 1;
}

/* The live session that has this turn; NULL: none. */
static const struct session *holder(const struct coordinator *coordinator, uint32_t turn)
{
    for (uint32_t i = 0; i < coordinator->session_count; i++) {
        const struct session *session = &coordinator->sessions[i];
        if (session->presence == SESSION_LIVE && session->turn == turn) return session;
    }
    return NULL;
}

void coordinator_turns_assign(struct turn *turn, struct session *session)
{
    struct coordinator *coordinator = turn->coordinator;
    if (session->turn != 0 && holder(coordinator, session->turn) == session) return;
    session->turn = 0;
    for (uint32_t i = 1; i <= turns(coordinator) && session->turn == 0; i++)
        if (holder(coordinator, i) == NULL) session->turn = i;
    if (coordinator->turns_since_ns == 0) coordinator->turns_since_ns = turn->now_ns;
}

bool coordinator_turns_may(const struct turn *turn, const struct session *session)
{
    const struct coordinator *coordinator = turn->coordinator;
    if (session->turn == 0 || !session->entered) return false;
    if (coordinator->started_ns != 0) return true;
    for (uint32_t i = 1; i <= turns(coordinator); i++) {
        const struct session *other = holder(coordinator, i);
        if (other != NULL && other->entered) continue;
        return turn->now_ns - coordinator->turns_since_ns >= coordinator->options.timeout_ns;
    }
    return true;
}

bool coordinator_turns_take(struct turn *turn, const struct session *session,
                            struct lease_book *book, uint32_t *index)
{
    const struct coordinator *coordinator = turn->coordinator;
    bool *has = calloc(turns(coordinator), sizeof *has);
    CHECK(has != NULL);
    for (uint32_t i = 0; i < turns(coordinator); i++)
        has[i] = holder(coordinator, i + 1) != NULL;
    bool taken =
        lease_book_take_turn(book, session->id, turn->now_ns + coordinator->options.lease_ns,
                             session->turn - 1, turns(coordinator), has, index);
    free(has);
    return taken;
}

void coordinator_turns_clocks(const struct coordinator *coordinator, const struct lease_book *book,
                              uint32_t index, Anthill__LeaseReply *reply)
{
    uint32_t leases = coordinator->options.clock_leases;
    uint64_t clocks = book->lease_count / leases + (book->lease_count % leases != 0);
    uint64_t next = (uint64_t)index + turns(coordinator);
    reply->takes_turn = true;
    reply->clock = book->epoch * clocks + index / leases;
    reply->clock_after = next < book->lease_count ? book->epoch * clocks + next / leases
                                                  : (book->epoch + 1) * clocks;
}

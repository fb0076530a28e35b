#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "ps/coordinator_internal.h"

#define PARK_NS        (500 * MILLISECOND_NS) /* a request waits inside for at most so long */
#define PARKED_MAX     8192
#define OPEN_BOOKS     (BOOKS + 1) /* with that of the evaluation */
#define RECOVER_NS_MAX (3 * SECOND_NS)

void coordinator_leases_deinit(struct coordinator *coordinator)
{
    for (uint32_t i = 0; i < BOOKS; i++)
        lease_book_deinit(&coordinator->books[i].leases);
    lease_book_deinit(&coordinator->evaluation.leases);
    free(coordinator->parked);
}

/* ---- books -------------------------------------------------------------------------------------
 */

/* Ids are the same after a restart: those of an epoch's leases, then that of its evaluation. */
static uint64_t id_first(const struct coordinator *coordinator, uint64_t epoch)
{
    uint64_t seeds = coordinator->lease_seeds;
    uint64_t leases = coordinator->seed_count / seeds + (coordinator->seed_count % seeds != 0);
    return 1 + epoch * (leases + 1);
}

void coordinator_leases_open(struct coordinator *coordinator, struct open_book *book,
                             uint64_t epoch)
{
    lease_book_deinit(&book->leases);
    *book = (struct open_book){.open = true};
    lease_book_init(&book->leases, epoch, id_first(coordinator, epoch), coordinator->seed_count,
                    coordinator->lease_seeds);
}

void coordinator_leases_open_evaluation(struct coordinator *coordinator)
{
    struct open_book *book = &coordinator->evaluation;
    lease_book_deinit(&book->leases);
    *book = (struct open_book){.open = true};
    lease_book_init(&book->leases, coordinator->epoch,
                    id_first(coordinator, coordinator->epoch + 1) - 1, 1, 1);
}

static void close_book(struct open_book *book)
{
    lease_book_deinit(&book->leases);
    *book = (struct open_book){0};
}

struct open_book *coordinator_leases_find(struct coordinator *coordinator, uint64_t id,
                                          uint32_t *index)
{
    struct open_book *books[OPEN_BOOKS] = {&coordinator->books[0], &coordinator->books[1],
                                           &coordinator->evaluation};
    for (size_t i = 0; i < OPEN_BOOKS; i++) {
        if (books[i]->open && lease_book_find(&books[i]->leases, id, index)) return books[i];
    }
    return NULL;
}

static bool evaluation_due(const struct coordinator *coordinator, uint64_t epoch)
{
    uint32_t every = coordinator->options.evaluate_every;
    return epoch + 1 >= coordinator->options.epochs || (every > 0 && (epoch + 1) % every == 0);
}

void coordinator_leases_begin(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    const struct coordinator_options *options = &coordinator->options;
    uint32_t lease = coordinator_turns_on(coordinator) ? options->batch : options->lease;
    coordinator->lease_seeds =
        lease_seeds(coordinator->seed_count, options->batch, options->worker_count, lease);
    coordinator->phase = PHASE_TRAINING;
    coordinator_leases_open(coordinator, &coordinator->books[0], 0);
    coordinator_log(turn, EFFECT_INFO, "training_begins", "seeds=%llu lease_seeds=%llu leases=%u",
                    (unsigned long long)coordinator->seed_count,
                    (unsigned long long)coordinator->lease_seeds,
                    coordinator->books[0].leases.lease_count);
}

void coordinator_leases_resume(struct coordinator *coordinator)
{
    uint64_t lease_ns = coordinator->options.lease_ns;
    coordinator->resumed = true;
    coordinator->recover_until_ns =
        coordinator->began_ns + (lease_ns < RECOVER_NS_MAX ? lease_ns : RECOVER_NS_MAX);
    coordinator->stop_deadline_ns = coordinator->began_ns + lease_ns;
}

double coordinator_leases_fraction(const struct coordinator *coordinator)
{
    if (coordinator->seed_count == 0) return 0;
    double all = (double)coordinator->options.epochs * (double)coordinator->seed_count;
    double done = (double)coordinator->seeds_total / all;
    return done < 1 ? done : 1;
}

/* ---- giving leases -----------------------------------------------------------------------------
 */

/* The book to take the next lease from, or NULL. */
static struct open_book *next_book(struct coordinator *coordinator)
{
    struct open_book *books = coordinator->books;
    if (coordinator->phase == PHASE_EVALUATING) {
        bool waits = coordinator->evaluation.leases.free_count > 0;
        return waits ? &coordinator->evaluation : NULL;
    }
    if (coordinator->phase != PHASE_TRAINING) return NULL;
    if (books[0].leases.free_count > 0) return &books[0];
    if (evaluation_due(coordinator, coordinator->epoch)) return NULL;
    if (!books[1].open) coordinator_leases_open(coordinator, &books[1], coordinator->epoch + 1);
    return books[1].leases.free_count > 0 ? &books[1] : NULL;
}

static void send_lease(struct turn *turn, uint64_t peer, uint64_t request,
                       const struct open_book *book, uint32_t index)
{
    const struct coordinator *coordinator = turn->coordinator;
    bool evaluates = book == &coordinator->evaluation;
    Anthill__LeaseReply reply = ANTHILL__LEASE_REPLY__INIT;
    reply.kind = evaluates ? ANTHILL__LEASE_KIND__LEASE_EVALUATE : ANTHILL__LEASE_KIND__LEASE_TRAIN;
    reply.lease = book->leases.id_first + index;
    reply.epoch = book->leases.epoch;
    if (!evaluates) lease_book_range(&book->leases, index, &reply.begin, &reply.end);
    if (!evaluates && coordinator_turns_on(coordinator))
        coordinator_turns_clocks(coordinator, &book->leases, index, &reply);
    double all = (double)coordinator->options.epochs * (double)coordinator->seed_count;
    double before = (double)reply.epoch * (double)coordinator->seed_count + (double)reply.begin;
    reply.progress = evaluates ? coordinator_leases_fraction(coordinator) : before / all;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_REPLY;
    envelope.lease_reply = &reply;
    coordinator_reply(turn, peer, request, &envelope);
}

static void send_kind(struct turn *turn, uint64_t peer, uint64_t request, Anthill__LeaseKind kind,
                      bool takes_turn)
{
    Anthill__LeaseReply reply = ANTHILL__LEASE_REPLY__INIT;
    reply.kind = kind;
    reply.takes_turn = takes_turn;
    reply.status = (uint32_t)turn->coordinator->status;
    reply.progress = coordinator_leases_fraction(turn->coordinator);
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_REPLY;
    envelope.lease_reply = &reply;
    coordinator_reply(turn, peer, request, &envelope);
}

/* After a restart leases that are held look free until their holders have said so. */
static bool recovering(const struct coordinator *coordinator, uint64_t now_ns)
{
    if (now_ns >= coordinator->recover_until_ns) return false;
    for (uint32_t i = 0; i < coordinator->session_count; i++) {
        const struct session *session = &coordinator->sessions[i];
        bool works = session->trains && session->active && session->presence == SESSION_LIVE;
        if (works && !session->announced) return true;
    }
    return false;
}

static bool take(struct turn *turn, const struct session *session, struct open_book *book,
                 uint32_t *index)
{
    struct coordinator *coordinator = turn->coordinator;
    if (coordinator_turns_on(coordinator) && book != &coordinator->evaluation)
        return coordinator_turns_take(turn, session, &book->leases, index);
    return lease_book_take(&book->leases, session->id, turn->now_ns + coordinator->options.lease_ns,
                           index);
}

/* Those who take turns are to enter the clock before they get a lease. */
static bool send_to_enter(struct turn *turn, const struct parked_request *parked,
                          struct session *session)
{
    if (!coordinator_turns_on(turn->coordinator) || session->presence != SESSION_LIVE) return false;
    coordinator_turns_assign(turn, session);
    if (session->turn == 0 || session->entered) return false;
    send_kind(turn, parked->peer, parked->request, ANTHILL__LEASE_KIND__LEASE_WAIT, true);
    return true;
}

/* Answers a request when that is possible now. */
static bool serve(struct turn *turn, const struct parked_request *parked)
{
    struct coordinator *coordinator = turn->coordinator;
    struct session *session = coordinator_sessions_find(coordinator, parked->session);
    if (coordinator_stopping(coordinator) || session == NULL) {
        send_kind(turn, parked->peer, parked->request, ANTHILL__LEASE_KIND__LEASE_STOP, false);
        return true;
    }
    if (send_to_enter(turn, parked, session)) return true;
    bool may = session->presence == SESSION_LIVE && !recovering(coordinator, turn->now_ns) &&
               (!coordinator_turns_on(coordinator) || coordinator_turns_may(turn, session));
    struct open_book *book = may ? next_book(coordinator) : NULL;
    uint32_t index = 0;
    if (book != NULL && take(turn, session, book, &index)) {
        if (book->began_ns == 0) book->began_ns = coordinator_wall(coordinator, turn->now_ns);
        if (coordinator->started_ns == 0) coordinator->started_ns = book->began_ns;
        session->granted_request = parked->request;
        session->granted_lease = book->leases.id_first + index;
        send_lease(turn, parked->peer, parked->request, book, index);
        return true;
    }
    if (turn->now_ns - parked->since_ns < PARK_NS) return false;
    send_kind(turn, parked->peer, parked->request, ANTHILL__LEASE_KIND__LEASE_WAIT,
              session->turn != 0);
    return true;
}

void coordinator_leases_serve(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < coordinator->parked_count; i++) {
        struct parked_request parked = coordinator->parked[i];
        if (!serve(turn, &parked)) coordinator->parked[kept++] = parked;
    }
    coordinator->parked_count = kept;
}

/* The request was answered before, and its reply may be lost: the same lease, once more. */
static bool serve_again(struct turn *turn, const struct session *session,
                        const struct message *message)
{
    uint64_t request = message->envelope->request;
    uint32_t index = 0;
    if (session->granted_lease == 0 || session->granted_request != request) return false;
    const struct open_book *book =
        coordinator_leases_find(turn->coordinator, session->granted_lease, &index);
    if (book == NULL) return false;
    const struct lease *lease = &book->leases.leases[index];
    if (lease->state != LEASE_HELD || lease->session != session->id) return false;
    send_lease(turn, message->peer, request, book, index);
    return true;
}

void coordinator_leases_request(struct turn *turn, const struct message *message)
{
    struct coordinator *coordinator = turn->coordinator;
    uint64_t request = message->envelope->request;
    struct session *session = coordinator_sessions_of(turn, message);
    if (session == NULL) return;
    if (!session->trains || session->presence == SESSION_LEFT) {
        coordinator_reply_error(turn, message->peer, request, STATUS_INVALID,
                                "session %llu does not train", (unsigned long long)session->id);
        return;
    }
    coordinator_sessions_activate(turn, session);
    session->entered = message->envelope->lease_request->entered;
    if (serve_again(turn, session, message)) return;
    for (uint32_t i = 0; i < coordinator->parked_count; i++) {
        struct parked_request *parked = &coordinator->parked[i];
        if (parked->session != session->id || parked->request != request) continue;
        parked->peer = message->peer;
        return;
    }
    if (coordinator->parked_count >= PARKED_MAX) {
        send_kind(turn, message->peer, request, ANTHILL__LEASE_KIND__LEASE_WAIT,
                  session->turn != 0);
        return;
    }
    coordinator->parked =
        coordinator_grow(coordinator->parked, coordinator->parked_count,
                         &coordinator->parked_capacity, sizeof *coordinator->parked);
    coordinator->parked[coordinator->parked_count++] = (struct parked_request){
        .peer = message->peer,
        .request = request,
        .session = session->id,
        .since_ns = turn->now_ns,
    };
}

/* ---- keeping and finishing leases --------------------------------------------------------------
 */

static bool counted_before(const struct session *session, uint64_t id)
{
    uint32_t count = session->done_count < DONE_MAX ? session->done_count : DONE_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (session->done[i] == id) return true;
    }
    return false;
}

bool coordinator_leases_renew(struct turn *turn, struct session *session, uint64_t id)
{
    struct coordinator *coordinator = turn->coordinator;
    if (counted_before(session, id)) return true;
    /* When the run is over nothing needs to be finished. */
    if (session->presence != SESSION_LIVE || coordinator_stopping(coordinator)) return false;
    uint32_t index = 0;
    struct open_book *book = coordinator_leases_find(coordinator, id, &index);
    /* A lease of the next epoch may have been given out before a restart. */
    if (book == NULL && coordinator->phase == PHASE_TRAINING && !coordinator->books[1].open &&
        !evaluation_due(coordinator, coordinator->epoch)) {
        coordinator_leases_open(coordinator, &coordinator->books[1], coordinator->epoch + 1);
        book = coordinator_leases_find(coordinator, id, &index);
    }
    uint64_t deadline_ns = turn->now_ns + coordinator->options.lease_ns;
    return book != NULL && lease_book_renew(&book->leases, index, session->id, deadline_ns);
}

void coordinator_leases_release(struct turn *turn, uint64_t session)
{
    struct coordinator *coordinator = turn->coordinator;
    struct open_book *books[OPEN_BOOKS] = {&coordinator->books[0], &coordinator->books[1],
                                           &coordinator->evaluation};
    uint32_t count = 0;
    for (size_t i = 0; i < OPEN_BOOKS; i++) {
        if (books[i]->open) count += lease_book_release(&books[i]->leases, session);
    }
    coordinator->leases_lost += count;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < coordinator->parked_count; i++) {
        if (coordinator->parked[i].session == session) continue;
        coordinator->parked[kept++] = coordinator->parked[i];
    }
    coordinator->parked_count = kept;
    if (count > 0) {
        coordinator_log(turn, EFFECT_INFO, "leases_freed", "session=%llu leases=%u",
                        (unsigned long long)session, count);
    }
}

static bool count_lease(struct turn *turn, struct session *session, struct open_book *book,
                        uint32_t index)
{
    struct coordinator *coordinator = turn->coordinator;
    if (!lease_book_done(&book->leases, index, session->id)) return false;
    session->done[session->done_count++ % DONE_MAX] = book->leases.id_first + index;
    /* A ring that has gone round: the count only has to say that it is full. */
    if (session->done_count == 2 * DONE_MAX) session->done_count = DONE_MAX;
    turn->effects->save = true;
    coordinator->leases_done++;
    if (book == &coordinator->evaluation) return true;
    uint64_t begin = 0, end = 0;
    lease_book_range(&book->leases, index, &begin, &end);
    coordinator->seeds_total += end - begin;
    session->seeds_done -= session->seeds_done < end - begin ? session->seeds_done : end - begin;
    return true;
}

void coordinator_leases_done(struct turn *turn, const struct message *message)
{
    const Anthill__LeaseDone *done = message->envelope->lease_done;
    struct coordinator *coordinator = turn->coordinator;
    struct session *session = coordinator_sessions_of(turn, message);
    if (session == NULL) return;
    coordinator_sessions_activate(turn, session);
    uint32_t index = 0;
    bool counted = counted_before(session, done->lease);
    struct open_book *book = NULL;
    if (!counted && session->presence == SESSION_LIVE && !coordinator_stopping(coordinator) &&
        coordinator_leases_renew(turn, session, done->lease))
        book = coordinator_leases_find(coordinator, done->lease, &index);
    if (book != NULL) {
        struct metric_set metrics = book->metrics;
        struct error error = {0};
        if (metric_set_add(&metrics, done->metrics, done->n_metrics, &error) != STATUS_OK) {
            outbox_put_error(turn->outbox, message->peer, message->envelope->request, &error);
            return;
        }
        counted = count_lease(turn, session, book, index);
        if (counted) book->metrics = metrics;
    }
    Anthill__LeaseDoneReply reply = ANTHILL__LEASE_DONE_REPLY__INIT;
    reply.counted = counted;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_DONE_REPLY;
    envelope.lease_done_reply = &reply;
    coordinator_reply(turn, message->peer, message->envelope->request, &envelope);
}

void coordinator_leases_tick(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    struct open_book *books[OPEN_BOOKS] = {&coordinator->books[0], &coordinator->books[1],
                                           &coordinator->evaluation};
    for (size_t i = 0; i < OPEN_BOOKS; i++) {
        if (!books[i]->open) continue;
        uint32_t count = lease_book_expire(&books[i]->leases, turn->now_ns);
        coordinator->leases_lost += count;
        if (count > 0) {
            coordinator_log(turn, EFFECT_WARN, "leases_expired", "epoch=%llu leases=%u",
                            (unsigned long long)books[i]->leases.epoch + 1, count);
        }
    }
}

/* ---- from phase to phase -----------------------------------------------------------------------
 */

static void next_epoch(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    struct open_book *books = coordinator->books;
    coordinator->epoch++;
    coordinator->phase = PHASE_TRAINING;
    close_book(&books[0]);
    books[0] = books[1];
    books[1] = (struct open_book){0};
    if (!books[0].open) coordinator_leases_open(coordinator, &books[0], coordinator->epoch);
    turn->effects->save = true;
}

static void finish_run(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    coordinator->epoch++; /* from here on: the number of epochs that are complete */
    close_book(&coordinator->books[0]);
    turn->effects->save = true;
    if (coordinator->seeds_at_checkpoint < coordinator->seeds_total) {
        coordinator->phase = PHASE_SAVING_LAST;
    } else {
        coordinator_stop(turn, STATUS_OK, "%s", "");
    }
}

static void after_evaluation(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    uint32_t patience = coordinator->options.patience;
    bool last = coordinator->epoch + 1 >= coordinator->options.epochs;
    bool tired = patience > 0 && coordinator->evaluations_since_best >= patience;
    if (tired && !last) {
        coordinator_log(turn, EFFECT_INFO, "early_stop", "epoch=%llu evaluations_since_best=%u",
                        (unsigned long long)coordinator->epoch + 1,
                        coordinator->evaluations_since_best);
    }
    if (last || tired) {
        finish_run(turn);
    } else {
        next_epoch(turn);
    }
}

static bool is_better(const struct coordinator *coordinator, const struct evaluation *evaluation)
{
    const char *monitor = coordinator->options.monitor;
    const struct metric_sum *now = metric_set_find(&evaluation->metrics, "valid/", monitor);
    const struct metric_sum *best = metric_set_find(&coordinator->best.metrics, "valid/", monitor);
    if (!coordinator->best.known || now == NULL || best == NULL) return true;
    if (isnan(now->value)) return false;
    if (isnan(best->value)) return true;
    return strcmp(monitor, "loss") == 0 ? now->value < best->value : now->value > best->value;
}

/* The configuration may name metrics that this task does not have. */
static bool check_metrics(struct turn *turn, const struct metric_set *metrics)
{
    const struct coordinator_options *options = &turn->coordinator->options;
    struct text names = {0};
    bool ok = true;
    if (metric_set_has_prefix(metrics, "valid/") &&
        metric_set_find(metrics, "valid/", options->monitor) == NULL) {
        metric_set_names(metrics, "valid/", &names);
        coordinator_stop(turn, STATUS_CONFIG,
                         "train.monitor: the evaluation has no valid/%s; it has %s",
                         options->monitor, names.data);
        ok = false;
    } else if (options->expect_value != 0 &&
               metric_set_find(metrics, "test/", options->expect_metric) == NULL) {
        metric_set_names(metrics, "test/", &names);
        coordinator_stop(turn, STATUS_CONFIG,
                         "expect.metric: the evaluation has no test/%s; it has %s",
                         options->expect_metric, names.data);
        ok = false;
    }
    text_deinit(&names);
    return ok;
}

static void finish_evaluation(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    struct evaluation evaluation = {
        .known = true, .epoch = coordinator->epoch, .metrics = coordinator->evaluation.metrics};
    close_book(&coordinator->evaluation);
    turn->effects->save = true;
    coordinator->last = evaluation;
    coordinator_report_evaluation(turn, &evaluation);
    if (!check_metrics(turn, &evaluation.metrics)) return;
    if (is_better(coordinator, &evaluation)) {
        coordinator->evaluations_since_best = 0;
        coordinator->candidate = evaluation;
        coordinator->phase = PHASE_SAVING_BEST;
    } else {
        coordinator->evaluations_since_best++;
        after_evaluation(turn);
    }
}

static void finish_epoch(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    struct open_book *book = &coordinator->books[0];
    const struct metric_sum *loss = metric_set_find(&book->metrics, "", "loss");
    coordinator->has_loss = loss != NULL;
    if (loss != NULL) coordinator->loss = loss->value;
    coordinator_report_epoch(turn, book);
    if (evaluation_due(coordinator, coordinator->epoch)) {
        coordinator->phase = PHASE_EVALUATING;
        coordinator_leases_open_evaluation(coordinator);
        close_book(book);
        turn->effects->save = true;
    } else {
        next_epoch(turn);
    }
}

void coordinator_leases_settle(struct turn *turn)
{
    struct coordinator *coordinator = turn->coordinator;
    while (coordinator->phase == PHASE_TRAINING &&
           lease_book_complete(&coordinator->books[0].leases))
        finish_epoch(turn);
    if (coordinator->phase == PHASE_EVALUATING &&
        lease_book_complete(&coordinator->evaluation.leases))
        finish_evaluation(turn);
    /* Each returns at once when a checkpoint is under way; what follows it comes by
     * coordinator_leases_after_checkpoint. */
    if (coordinator->phase == PHASE_SAVING_BEST) coordinator_checkpoints_order(turn, REASON_BEST);
    if (coordinator->phase == PHASE_SAVING_LAST) coordinator_checkpoints_order(turn, REASON_LAST);
}

void coordinator_leases_after_checkpoint(struct turn *turn, enum checkpoint_reason reason,
                                         uint64_t step)
{
    struct coordinator *coordinator = turn->coordinator;
    if (coordinator->phase == PHASE_SAVING_BEST && reason == REASON_BEST) {
        /* What has no checkpoint cannot be the result while there is one that has. */
        if (step != 0 || coordinator->best.checkpoint == 0) {
            coordinator->best = coordinator->candidate;
            coordinator->best.checkpoint = step;
        }
        coordinator->candidate = (struct evaluation){0};
        turn->effects->save = true;
        after_evaluation(turn);
    } else if (coordinator->phase == PHASE_SAVING_LAST && reason == REASON_LAST) {
        coordinator_stop(turn, STATUS_OK, "%s", "");
    }
}

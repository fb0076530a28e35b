/* Workers that take turns: who gets which lease, and in which clock it is summed. */
#include "coordinator_fixture.h"

#define WAIT    ANTHILL__LEASE_KIND__LEASE_WAIT
#define TRAIN   ANTHILL__LEASE_KIND__LEASE_TRAIN
#define NOTHING ((Anthill__LeaseKind)-1)

/* Two workers, seven leases, three in a clock. */
static struct fixture *begin(void **state)
{
    struct coordinator_options options = fixture_options();
    options.clock_leases = 3;
    options.lease = 0;
    struct fixture *fixture = fixture_with_options(state, &options);
    fixture_start_servers(fixture);
    return fixture;
}

static uint64_t ask(struct fixture *fixture, uint64_t session, bool entered)
{
    Anthill__LeaseRequest body = ANTHILL__LEASE_REQUEST__INIT;
    body.entered = entered;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.session = session;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_LEASE_REQUEST;
    envelope.lease_request = &body;
    return fixture_send(fixture, session, &envelope);
}

static Anthill__LeaseReply answer(struct fixture *fixture, uint64_t session, uint64_t request)
{
    const Anthill__Envelope *reply = fixture_reply(fixture, session, request);
    Anthill__LeaseReply none = ANTHILL__LEASE_REPLY__INIT;
    none.kind = NOTHING;
    return reply == NULL ? none : *reply->lease_reply;
}

static Anthill__LeaseReply lease(struct fixture *fixture, uint64_t session)
{
    return answer(fixture, session, ask(fixture, session, true));
}

static void expect_lease(const Anthill__LeaseReply *reply, uint64_t index, uint64_t clock,
                         uint64_t clock_after)
{
    assert_int_equal(reply->kind, TRAIN);
    assert_true(reply->takes_turn);
    assert_int_equal(reply->begin, index * 10);
    assert_int_equal(reply->end, index * 10 + 10);
    assert_int_equal(reply->clock, clock);
    assert_int_equal(reply->clock_after, clock_after);
}

/* Both have joined as sessions 1 and 2 with peers of the same number, and are in the clock; session
 * 1 has the first lease, session 2 the second. */
static void enter_both(struct fixture *fixture)
{
    for (uint64_t session = 1; session <= 2; session++)
        assert_int_equal(fixture_join(fixture, session, 70), session);
    for (uint64_t session = 1; session <= 2; session++) {
        Anthill__LeaseReply reply = answer(fixture, session, ask(fixture, session, false));
        assert_int_equal(reply.kind, WAIT);
        assert_true(reply.takes_turn);
    }
    uint64_t first = ask(fixture, 1, true);
    assert_int_equal(answer(fixture, 1, first).kind, NOTHING); /* the other is not there yet */
    uint64_t second = ask(fixture, 2, true);
    Anthill__LeaseReply reply = answer(fixture, 1, first);
    expect_lease(&reply, 0, 0, 0);
    reply = answer(fixture, 2, second);
    expect_lease(&reply, 1, 0, 1);
}

static void each_worker_gets_every_second_lease_however_fast_it_is(void **state)
{
    struct fixture *fixture = begin(state);
    enter_both(fixture);
    Anthill__LeaseReply reply = lease(fixture, 1);
    expect_lease(&reply, 2, 0, 1);
    reply = lease(fixture, 1);
    expect_lease(&reply, 4, 1, 2);
    reply = lease(fixture, 1);
    expect_lease(&reply, 6, 2, 3);
    assert_int_equal(lease(fixture, 1).kind, NOTHING); /* 3 and 5 are the other's */
    reply = lease(fixture, 2);
    expect_lease(&reply, 3, 1, 1);
    reply = lease(fixture, 2);
    expect_lease(&reply, 5, 1, 3);
}

static void the_next_epoch_goes_on_in_the_clocks_behind(void **state)
{
    struct coordinator_options options = fixture_options();
    options.clock_leases = 3;
    options.evaluate_every = 2;
    struct fixture *fixture = fixture_with_options(state, &options);
    fixture_start_servers(fixture);
    enter_both(fixture);
    for (unsigned i = 0; i < 3; i++)
        lease(fixture, 1);
    Anthill__LeaseReply reply = lease(fixture, 1);
    assert_int_equal(reply.kind, NOTHING); /* 1 has none left in this epoch; 2 has */
    for (unsigned i = 0; i < 2; i++)
        lease(fixture, 2);
    fixture_tick(fixture, S / 10);
    reply = lease(fixture, 2);
    assert_int_equal(reply.epoch, 1);
    expect_lease(&reply, 1, 3, 4);
}

static void a_worker_beyond_their_number_is_not_to_be_in_the_clock(void **state)
{
    struct fixture *fixture = begin(state);
    enter_both(fixture);
    assert_int_equal(fixture_join(fixture, 3, 70), 3);
    uint64_t request = ask(fixture, 3, false);
    assert_int_equal(answer(fixture, 3, request).kind, NOTHING);
    fixture_tick(fixture, S);
    Anthill__LeaseReply reply = answer(fixture, 3, request);
    assert_int_equal(reply.kind, WAIT);
    assert_false(reply.takes_turn);
}

static void the_leases_of_one_that_is_gone_are_done_by_others_and_its_turn_is_given(void **state)
{
    struct fixture *fixture = begin(state);
    enter_both(fixture);
    fixture_leave(fixture, 2, 2, STATUS_OK, false);
    bool seen[7] = {true}; /* it has lease 0 */
    for (unsigned i = 0; i < 6; i++) {
        Anthill__LeaseReply reply = lease(fixture, 1);
        assert_int_equal(reply.kind, TRAIN);
        assert_false(seen[reply.begin / 10]);
        seen[reply.begin / 10] = true;
    }
    assert_int_equal(fixture_join(fixture, 3, 70), 3);
    Anthill__LeaseReply reply = answer(fixture, 3, ask(fixture, 3, false));
    assert_int_equal(reply.kind, WAIT);
    assert_true(reply.takes_turn);
}

static void who_is_there_begins_alone_when_nobody_comes_in_time(void **state)
{
    struct fixture *fixture = begin(state);
    assert_int_equal(fixture_join(fixture, 1, 70), 1);
    ask(fixture, 1, false);
    Anthill__LeaseReply reply = {0};
    unsigned seconds = 0;
    do {
        fixture_tick(fixture, S);
        for (uint32_t server = 0; server < 2; server++)
            fixture_shard_beat(fixture, server, 1000 + server);
        reply = lease(fixture, 1);
        assert_true(++seconds < 100);
    } while (reply.kind != TRAIN);
    assert_true(seconds >= 59);
    /* The request before it got the first lease; this one is nobody else's. */
    expect_lease(&reply, 1, 0, 1);
}

static void an_epoch_with_fewer_batches_than_workers_is_refused(void **state)
{
    struct fixture *fixture = begin(state);
    struct error error = {0};
    uint64_t request = fixture_ask_join(fixture, 1, 10, 7);
    assert_int_equal(wire_error(fixture_reply(fixture, 1, request), &error), STATUS_CONFIG);
    assert_non_null(strstr(error.text, "2 workers take turns, but an epoch has only 1 batches"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(each_worker_gets_every_second_lease_however_fast_it_is),
        FIXTURE_TEST(the_next_epoch_goes_on_in_the_clocks_behind),
        FIXTURE_TEST(a_worker_beyond_their_number_is_not_to_be_in_the_clock),
        FIXTURE_TEST(the_leases_of_one_that_is_gone_are_done_by_others_and_its_turn_is_given),
        FIXTURE_TEST(who_is_there_begins_alone_when_nobody_comes_in_time),
        FIXTURE_TEST(an_epoch_with_fewer_batches_than_workers_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

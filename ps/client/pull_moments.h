/* What shards said of the pulls that a client has waited for: the gradients that it pushes next
 * were computed from those rows, and a push says so, for the shard to tell how old they are. Pure.
 */
#ifndef ANTHILL_PS_CLIENT_PULL_MOMENTS_H
#define ANTHILL_PS_CLIENT_PULL_MOMENTS_H

#include <stdbool.h>
#include <stdint.h>

/* When rows were read, as the shard counts. */
struct pull_moment {
    uint64_t updates, ns, clock_min; /* see PullReply; ns 0: not known */
    uint64_t incarnation;            /* of the shard: another one counts anew */
};

#define PULL_MOMENTS_KEPT 8 /* pulls that were answered and not waited for yet */

/* Zero-initialised is empty. */
struct pull_moments {
    struct answered_pull {
        uint64_t ticket; /* 0: free */
        uint32_t table;
        struct pull_moment *moments; /* [link_count] */
    } answered[PULL_MOMENTS_KEPT];
    uint32_t next;
    struct pull_moment *latest; /* [table_count, link_count] of the last one waited for */
    uint32_t table_count, link_count;
};

void pull_moments_deinit(struct pull_moments *moments);

/* `link` has answered a part of pull `ticket`. Of several the earliest counts. */
void pull_moments_answered(struct pull_moments *moments, uint32_t link_count, uint64_t ticket,
                           uint32_t table, uint32_t link, const struct pull_moment *moment);

/* The caller has waited for the pull `ticket`; any other ticket changes nothing. */
void pull_moments_waited(struct pull_moments *moments, uint64_t ticket);

/* Of the pull of `table` that was waited for last; zeros: none. */
struct pull_moment pull_moments_latest(const struct pull_moments *moments, uint32_t table,
                                       uint32_t link);

#endif

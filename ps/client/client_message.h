/* What a link says to its shard, packed into its outbox. Pure. */
#ifndef ANTHILL_PS_CLIENT_CLIENT_MESSAGE_H
#define ANTHILL_PS_CLIENT_CLIENT_MESSAGE_H

#include "ps/client/client_link.h"

/* Hello under the number `id`, with the first `table_count` tables. */
void client_message_hello(struct client_link *link, struct client_shared *shared, uint64_t id,
                          uint32_t table_count);

/* A copy of the part; frames share its buffer. */
void client_message_part(struct client_link *link, const struct client_shared *shared,
                         const struct part *part);

#endif

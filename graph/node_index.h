/* Numbers the nodes of an import in order of appearance: external id (a number or a name) to
 * 0, 1, 2, ... The memory of an import is that of this table, 16 to 32 bytes a node, plus the names
 * themselves. */
#ifndef ANTHILL_GRAPH_NODE_INDEX_H
#define ANTHILL_GRAPH_NODE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No node has this number. */
#define NODE_NONE UINT32_MAX

struct node_index;

struct node_index *node_index_create(bool names);
void node_index_destroy(struct node_index *index);

/* The node's number; a new one is added. NODE_NONE when 2^32 - 2 nodes are there. Use the function
 * that fits the index. A name is any bytes. */
uint32_t node_index_add_number(struct node_index *index, uint64_t id);
uint32_t node_index_add_name(struct node_index *index, const char *name, size_t bytes);

/* NODE_NONE when it is not there. */
uint32_t node_index_find_number(const struct node_index *index, uint64_t id);
uint32_t node_index_find_name(const struct node_index *index, const char *name, size_t bytes);

uint32_t node_index_count(const struct node_index *index);
bool node_index_has_names(const struct node_index *index);
/* node < count; borrowed until the next add. */
uint64_t node_index_number(const struct node_index *index, uint32_t node);
const char *node_index_name(const struct node_index *index, uint32_t node, size_t *bytes);

#endif

/* What an import was asked to do, and what all importers share: bad rows, progress, the builder. */
#ifndef ANTHILL_GRAPH_IMPORTERS_IMPORT_JOB_H
#define ANTHILL_GRAPH_IMPORTERS_IMPORT_JOB_H

#include "graph/graph_builder.h"
#include "graph/table_reader.h"

enum import_choice { IMPORT_DEFAULT, IMPORT_YES, IMPORT_NO };
enum import_ids { IMPORT_IDS_AUTO, IMPORT_IDS_NUMBER, IMPORT_IDS_NAME };

struct import_job {
    struct graph_options graph;
    enum import_choice dedupe, normalize;
    bool reverse_chosen;
    uint64_t skip_bad;  /* bad rows that are passed over */
    uint64_t bad_count; /* so far */
    bool quiet;
    uint64_t seed;
    enum import_ids ids;
    char separator;
    bool header;
    /* Inputs; NULL where not given. Which format uses which stands in import_command.c. */
    const char *edges, *nodes, *split, *columns;
    const char *edge_index, *features, *labels, *splits;
    const char *train, *valid, *test;
    const char *lists;
    uint64_t dropped_targets; /* debian: relations to packages that do not exist */
    uint64_t progress_ns;     /* when progress was last shown */
};

/* An importer creates a builder, fills it and finishes it. On error nothing is published. */
typedef enum status import_function(struct import_job *job, struct graph_summary *summary,
                                    struct error *error);
import_function import_edges, import_svmlight, import_numpy, import_triples, import_debian;

/* Resolves what depends on the format: `reverse` and `dedupe` are the format's defaults. Duplicates
 * are dropped by default where edges are made symmetric. */
void import_defaults(struct import_job *job, enum graph_reverse reverse, bool dedupe);

/* A row that cannot be used. STATUS_OK while it may be passed over (--skip-bad), else
 * STATUS_CORRUPT with "path:line: reason". */
enum status import_bad_row(struct import_job *job, const char *path, uint64_t line,
                           struct error *error, const char *format, ...)
    __attribute__((format(printf, 5, 6))) MUST_CHECK;

/* Shows on stderr how far the import is, at most every second, and tells of a wish to stop. */
enum status import_progress(struct import_job *job, const char *what, uint64_t count,
                            struct error *error) MUST_CHECK;

/* "train", "valid" (or "val", "validation"), "test", "none" or 0 to 3. */
bool import_split_code(const struct field *field, enum graph_split *code);

/* External ids as they stand in text. import_id_check says what is wrong with one, or NULL;
 * `number` is that of a good id of an index of numbers. The others need a checked id; NODE_NONE:
 * the index is full, or the node is not there. */
const char *import_id_check(const struct node_index *nodes, const struct field *field,
                            uint64_t *number);
uint32_t import_id_add(struct node_index *nodes, const struct field *field, uint64_t number);
uint32_t import_id_find(const struct node_index *nodes, const struct field *field, uint64_t number);

/* The rows of an svmlight file as nodes 0, 1, 2, ...: label (-1: unknown), then column:value from
 * column 0 on, ascending. */
enum status import_svmlight_nodes(struct import_job *job, struct graph_builder *builder,
                                  const char *path, struct error *error) MUST_CHECK;

/* Edges of a text table, whose columns `job->columns` names (default "src,dst"). `fixed`: ids that
 * are no nodes yet are bad rows instead of new nodes. */
struct edge_columns;
enum status import_edge_columns(const char *names, struct edge_columns **columns,
                                struct edge_layout *layout, struct error *error) MUST_CHECK;
bool import_edge_column_is_id(const struct edge_columns *columns, size_t index);
void import_edge_columns_destroy(struct edge_columns *columns);
enum status import_edge_rows(struct import_job *job, struct graph_builder *builder,
                             struct table_reader *reader, const struct edge_columns *columns,
                             bool fixed, struct error *error) MUST_CHECK;

#endif

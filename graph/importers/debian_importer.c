/* The graph of Debian's packages. An edge goes from a package to what it depends on (recommends,
 * ...), and by default another one, of an inverse type, back. Features are the words of the
 * description alone; the class is the section. The lists are read twice: first for the packages,
 * then for the edges between them. */
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/rng.h"
#include "graph/importers/import_job.h"
#include "graph/importers/package_list.h"
#include "graph/importers/word_index.h"

#define LISTS_FOLDER  "/var/lib/apt/lists"
#define WORDS_MAX     8000
#define TRAIN_PERCENT 60
#define VALID_PERCENT 20

static const struct {
    enum package_field field;
    const char *name;
} relations[] = {{PACKAGE_DEPENDS, "depends"},
                 {PACKAGE_PRE_DEPENDS, "pre-depends"},
                 {PACKAGE_RECOMMENDS, "recommends"},
                 {PACKAGE_SUGGESTS, "suggests"},
                 {PACKAGE_ENHANCES, "enhances"}};

#define RELATION_COUNT (sizeof relations / sizeof *relations)

struct debian {
    struct import_job *job;
    struct graph_builder *builder;
    struct word_index *words;
    uint8_t *linked; /* [nodes] whether the second reading met the package */
    uint64_t virtual_count;
    struct edge edge; /* under construction */
    enum status status;
    struct error *error;
};

/* The first stanza of a name counts; later ones are other versions. */
static enum status package_add(struct debian *debian, const struct package *package,
                               struct error *error)
{
    (void)error;
    const struct text *name = &package->fields[PACKAGE_NAME];
    const struct text *description = &package->fields[PACKAGE_DESCRIPTION];
    struct node_index *nodes = graph_builder_nodes(debian->builder);
    const uint32_t next = node_index_count(nodes);
    const uint32_t node = node_index_add_name(nodes, name->data, name->bytes);
    CHECK(node != NODE_NONE);
    if (node < next) return STATUS_OK;
    word_index_add(debian->words, description->data, description->bytes);
    const char *section = package->fields[PACKAGE_SECTION].data;
    const char *area = strrchr(section, '/');
    if (area != NULL) section = area + 1;
    const size_t bytes = strlen(section);
    int32_t label = bytes == 0 ? -1 : graph_builder_class(debian->builder, section, bytes);
    graph_builder_label(debian->builder, node, label);
    return STATUS_OK;
}

static void relation_add(void *context, const char *name, size_t bytes)
{
    struct debian *debian = context;
    if (debian->status != STATUS_OK) return;
    debian->edge.dst = node_index_find_name(graph_builder_nodes(debian->builder), name, bytes);
    if (debian->edge.dst == NODE_NONE)
        debian->virtual_count++;
    else
        debian->status = graph_builder_edge(debian->builder, &debian->edge, debian->error);
}

static enum status package_link(struct debian *debian, const struct package *package,
                                struct error *error)
{
    const struct text *name = &package->fields[PACKAGE_NAME];
    const struct node_index *nodes = graph_builder_nodes(debian->builder);
    const uint32_t node = node_index_find_name(nodes, name->data, name->bytes);
    if (node == NODE_NONE)
        return error_set(error, STATUS_STOPPED, "the package lists changed while they were read");
    if (debian->linked[node]) return STATUS_OK;
    debian->linked[node] = 1;
    debian->error = error;
    for (size_t r = 0; r < RELATION_COUNT && debian->status == STATUS_OK; r++) {
        debian->edge = (struct edge){.src = node, .type = (uint16_t)r};
        package_relations(package->fields[relations[r].field].data, relation_add, debian);
    }
    return debian->status;
}

static enum status list_read(struct debian *debian, const char *path,
                             enum status (*use)(struct debian *, const struct package *,
                                                struct error *),
                             struct error *error)
{
    struct package_list *list = NULL;
    struct package package = {.line = 0};
    enum status status = package_list_open(&list, path, error);
    while (status == STATUS_OK) {
        status = package_list_next(list, &package, error);
        if (status != STATUS_OK || package.line == 0) break;
        const char *name = package.fields[PACKAGE_NAME].data;
        if (name[0] == '\0' || strpbrk(name, " \t\n") != NULL) {
            /* Counted once, though the lists are read twice. */
            if (use == package_add)
                status = import_bad_row(debian->job, path, package.line, error,
                                        "the stanza has no Package field with a name");
            continue;
        }
        status = use(debian, &package, error);
        if (status == STATUS_OK)
            status = import_progress(debian->job, "packages",
                                     node_index_count(graph_builder_nodes(debian->builder)), error);
    }
    package_deinit(&package);
    package_list_close(list);
    return status;
}

static enum status features_add(struct debian *debian, struct error *error)
{
    const uint32_t count = node_index_count(graph_builder_nodes(debian->builder));
    enum status status = STATUS_OK;
    graph_builder_feature_dim(debian->builder, word_index_choose(debian->words, WORDS_MAX));
    for (uint32_t node = 0; node < count && status == STATUS_OK; node++) {
        const uint32_t *columns;
        const float *values;
        uint32_t length = word_index_row(debian->words, node, &columns, &values);
        status = graph_builder_sparse_row(debian->builder, node, columns, values, length, error);
    }
    return status;
}

static void split_add(struct debian *debian)
{
    const uint32_t count = node_index_count(graph_builder_nodes(debian->builder));
    const uint64_t train_end = (uint64_t)count * TRAIN_PERCENT / 100;
    const uint64_t valid_end = (uint64_t)count * (TRAIN_PERCENT + VALID_PERCENT) / 100;
    graph_builder_split_count(debian->builder, 1);
    for (uint32_t node = 0; node < count; node++) {
        uint64_t place = rng_permute(rng_key(debian->job->seed, 0), count, node);
        enum graph_split split = place < train_end   ? GRAPH_SPLIT_TRAIN
                                 : place < valid_end ? GRAPH_SPLIT_VALID
                                                     : GRAPH_SPLIT_TEST;
        graph_builder_split(debian->builder, node, 0, split);
    }
}

static enum status lists_read(struct debian *debian, char *const *paths, size_t count,
                              struct error *error)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = graph_builder_source(debian->builder, paths[i], error);
        if (status == STATUS_OK) status = list_read(debian, paths[i], package_add, error);
    }
    if (status == STATUS_OK) status = features_add(debian, error);
    if (status != STATUS_OK) return status;
    split_add(debian);
    for (size_t r = 0; r < RELATION_COUNT && status == STATUS_OK; r++) {
        uint16_t type;
        status = graph_builder_edge_type(debian->builder, relations[r].name,
                                         strlen(relations[r].name), &type, error);
        CHECK(status != STATUS_OK || type == r);
    }
    debian->linked = calloc((size_t)node_index_count(graph_builder_nodes(debian->builder)) + 1, 1);
    CHECK(debian->linked != NULL);
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        status = list_read(debian, paths[i], package_link, error);
    return status;
}

enum status import_debian(struct import_job *job, struct graph_summary *summary,
                          struct error *error)
{
    struct debian debian = {.job = job, .status = STATUS_OK};
    char **paths = NULL;
    size_t count = 0;
    import_defaults(job, REVERSE_INVERSE, true);
    job->graph.normalize_l2 = job->normalize != IMPORT_NO;
    enum status status =
        package_lists_find(job->lists != NULL ? job->lists : LISTS_FOLDER, &paths, &count, error);
    if (status != STATUS_OK) return status;
    debian.words = word_index_create();
    status = graph_builder_create(&debian.builder, &job->graph, true,
                                  (struct edge_layout){.typed = true}, error);
    if (status == STATUS_OK) status = lists_read(&debian, paths, count, error);
    if (status == STATUS_OK) status = graph_builder_finish(debian.builder, summary, error);
    job->dropped_targets = debian.virtual_count;
    graph_builder_destroy(debian.builder);
    word_index_destroy(debian.words);
    free(debian.linked);
    package_lists_free(paths, count);
    return status;
}

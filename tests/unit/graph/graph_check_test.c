/* Damage to any file of a graph folder: opening or checking refuses it and names the file. */
#include "tests/unit/graph/graph_fixture.h"

#include <dirent.h>
#include <sys/stat.h>

#include "common/checksum.h"
#include "common/rng.h"
#include "graph/graph_check.h"

/* Two partitions with every kind of array: names, types, weights, times, labels, splits. */
static void make_graph(const char *name, bool sparse)
{
    struct error error = {.text = ""};
    struct graph_builder *builder = NULL;
    struct graph_summary summary;
    const struct graph_options options = {.out = in_folder(name),
                                          .partitions = 2,
                                          .by_range = true,
                                          .memory_bytes = 4096,
                                          .arguments = "test"};
    const struct edge_layout layout = {
        .typed = true, .weighted = true, .timed = true, .split = true};
    assert_status(graph_builder_create(&builder, &options, true, layout, &error), STATUS_OK,
                  &error);
    graph_builder_split_count(builder, 2);
    uint16_t type = 0;
    assert_status(graph_builder_edge_type(builder, "t", 1, &type, &error), STATUS_OK, &error);
    for (uint32_t node = 0; node < 20; node++) {
        char text[16];
        const uint32_t columns[2] = {node % 3, 3 + node % 4};
        const float values[2] = {1.0f, (float)node};
        int bytes = snprintf(text, sizeof text, "node-%u", node);
        assert_int_equal(node_index_add_name(graph_builder_nodes(builder), text, (size_t)bytes),
                         node);
        graph_builder_label(builder, node, (int32_t)(node % 3));
        graph_builder_split(builder, node, node % 2, GRAPH_SPLIT_VALID);
        enum status status =
            sparse ? graph_builder_sparse_row(builder, node, columns, values, 2, &error)
                   : graph_builder_dense_row(builder, node, values, 2, &error);
        assert_status(status, STATUS_OK, &error);
    }
    struct rng rng = rng_make(5);
    for (uint32_t e = 0; e < 150; e++) {
        const struct edge edge = {.src = (uint32_t)rng_below(&rng, 20),
                                  .dst = (uint32_t)rng_below(&rng, 20),
                                  .weight = 0.5f,
                                  .time = e,
                                  .split = (uint8_t)(e % 3)};
        assert_status(graph_builder_edge(builder, &edge, &error), STATUS_OK, &error);
    }
    assert_status(graph_builder_finish(builder, &summary, &error), STATUS_OK, &error);
    graph_builder_destroy(builder);
    assert_status(graph_check(in_folder(name), &error), STATUS_OK, &error);
}

struct bytes {
    char *data;
    size_t count;
};

static struct bytes file_bytes(const char *path)
{
    struct bytes bytes;
    assert_int_equal(file_read_all(path, 1u << 20, &bytes.data, &bytes.count, NULL), STATUS_OK);
    return bytes;
}

static void restore(const char *path, struct bytes bytes)
{
    assert_int_equal(file_write_atomic(path, bytes.data, bytes.count, NULL), STATUS_OK);
}

/* Checking fails and the text has the path; opening fails too, or does not crash. */
static void assert_refused(const char *path)
{
    struct error error = {.text = ""};
    struct graph *graph = NULL;
    if (graph_open(&graph, in_folder("g"), 0, &error) == STATUS_OK) graph_close(graph);
    enum status status = graph_check(in_folder("g"), &error);
    if (status != STATUS_CORRUPT && status != STATUS_NOT_FOUND)
        fail_msg("%s: %s %s", path, status_name(status), error.text);
    if (strstr(error.text, path) == NULL) fail_msg("\"%s\" does not name %s", error.text, path);
}

static void damage_each_way(const char *path, uint64_t key)
{
    struct bytes good = file_bytes(path);
    if (good.count > 0) {
        assert_int_equal(truncate(path, (off_t)good.count - 1), 0);
        assert_refused(path);
        restore(path, good);
        assert_int_equal(truncate(path, 0), 0);
        assert_refused(path);
        restore(path, good);
    }
    struct rng rng = rng_make(key);
    for (int flip = 0; flip < 8 && good.count > 0; flip++) {
        char *byte = &good.data[rng_below(&rng, good.count)];
        const char bit = (char)(1u << rng_below(&rng, 8));
        *byte ^= bit;
        restore(path, good);
        assert_refused(path);
        *byte ^= bit;
        restore(path, good);
    }
    assert_int_equal(remove(path), 0);
    assert_refused(path);
    restore(path, good);
    free(good.data);
}

/* Calls `visit` with each file of part-0 and part-1. */
static unsigned each_file(void (*visit)(const char *path, uint64_t key))
{
    unsigned count = 0;
    for (int p = 0; p < 2; p++) {
        char names[32][64];
        unsigned found = 0;
        char part[FILE_PATH_BYTES / 2];
        snprintf(part, sizeof part, "%s/g/part-%d", folder, p);
        DIR *directory = opendir(part);
        assert_non_null(directory);
        for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
            if (entry->d_name[0] == '.') continue;
            snprintf(names[found++], sizeof names[0], "%.60s", entry->d_name);
        }
        closedir(directory);
        for (unsigned i = 0; i < found; i++) {
            char path[FILE_PATH_BYTES];
            snprintf(path, sizeof path, "%s/%s", part, names[i]);
            visit(path, count++);
        }
    }
    return count;
}

static void every_file_is_guarded(void **state)
{
    (void)state;
    make_graph("g", true);
    assert_int_equal(each_file(damage_each_way), 2 * 15);
    remove_folder(in_folder("g"));
    make_graph("g", false);
    assert_int_equal(each_file(damage_each_way), 2 * 13);
    struct error error = {.text = ""};
    assert_status(graph_check(in_folder("g"), &error), STATUS_OK, &error);
}

static void swap_with_other_partition(const char *path, uint64_t key)
{
    (void)key;
    char other[FILE_PATH_BYTES];
    char *part = strstr(path, "/part-0/");
    if (part == NULL) return;
    snprintf(other, sizeof other, "%s", path);
    other[part - path + 6] = '1';
    struct bytes first = file_bytes(path), second = file_bytes(other);
    if (first.count != second.count || memcmp(first.data, second.data, first.count) != 0) {
        restore(path, second);
        restore(other, first);
        assert_refused("/part-");
        restore(path, first);
        restore(other, second);
    }
    free(first.data);
    free(second.data);
}

static void files_of_another_partition_are_refused(void **state)
{
    (void)state;
    make_graph("g", true);
    each_file(swap_with_other_partition);
    struct error error = {.text = ""};
    assert_status(graph_check(in_folder("g"), &error), STATUS_OK, &error);
}

/* Replaces `old` by `new` in metadata.yaml. */
static void edit_metadata(const char *old, const char *new_text)
{
    struct bytes good = file_bytes(in_folder("g/metadata.yaml"));
    char *at = strstr(good.data, old);
    if (at == NULL) fail_msg("metadata.yaml has no \"%s\"", old);
    char *edited = malloc(good.count + strlen(new_text) + 1);
    assert_non_null(edited);
    int bytes =
        sprintf(edited, "%.*s%s%s", (int)(at - good.data), good.data, new_text, at + strlen(old));
    assert_int_equal(file_write_atomic(in_folder("g/metadata.yaml"), edited, (size_t)bytes, NULL),
                     STATUS_OK);
    free(edited);
    free(good.data);
}

static void contradictions_in_metadata_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new_text, *part;
    } cases[] = {
        {"anthill-graph", "other-graph", "format is"},
        {"version: 1", "version: 7", "version 7"},
        {"node_count: 20", "node_count: 21", "expected 21"},
        {"edge_count: 150", "edge_count: 151", "expected 20 and 151"},
        {"start: 10", "start: 11", "partition 1 has the range"},
        {"class_count: 3", "class_count: 0", "is no class"},
        {"typed: true", "typed: [1]", "metadata.yaml"},
        {"node_count", "nodes", "metadata.yaml"},
        {"split_count: 2", "split_count: 3", "split.npy"},
        {"feature_dim: 7", "feature_dim: 5", "feat_columns.npy"},
        {"name: t,", "name: t, colour: red,", "metadata.yaml"},
    };
    make_graph("g", true);
    struct bytes good = file_bytes(in_folder("g/metadata.yaml"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error = {.text = ""};
        edit_metadata(cases[i].old, cases[i].new_text);
        assert_status(graph_check(in_folder("g"), &error), STATUS_CORRUPT, &error);
        if (strstr(error.text, cases[i].part) == NULL)
            fail_msg("\"%s\" has no \"%s\"", error.text, cases[i].part);
        restore(in_folder("g/metadata.yaml"), good);
    }
    free(good.data);
}

/* Changes an entry and the checksum that guards it: only the contents tell. */
static void poke(const char *name, size_t item, const void *value, size_t bytes)
{
    char path[FILE_PATH_BYTES], old[32], new_text[32];
    snprintf(path, sizeof path, "%s/g/part-0/%s", folder, name);
    struct bytes good = file_bytes(path);
    snprintf(old, sizeof old, "%016llx", (unsigned long long)checksum_bytes(good.data, good.count));
    memcpy(good.data + 128 + item * bytes, value, bytes);
    snprintf(new_text, sizeof new_text, "%016llx",
             (unsigned long long)checksum_bytes(good.data, good.count));
    restore(path, good);
    edit_metadata(old, new_text);
    free(good.data);
}

static void numbers_out_of_range_are_named(void **state)
{
    (void)state;
    const uint64_t large = 1000, zero = 0, five = 5;
    const uint32_t index = 1000, column = 7;
    const uint16_t type = 1;
    const uint8_t split = 4;
    const int32_t label = 3;
    const float nan_value = (float)(0.0 / zero);
    const struct {
        const char *name;
        size_t item;
        const void *value;
        size_t bytes;
        const char *part;
    } cases[] = {
        {"indices.npy", 3, &index, 4, "entry 3 is neither"},
        {"indptr.npy", 3, &large, 8, "entry 4 goes down"},
        {"halo.npy", 0, &five, 8, "entry 0 is an inner node"},
        {"halo.npy", 0, &large, 8, "entry 0 is no node"},
        {"edge_type.npy", 2, &type, 2, "entry 2 is no edge type"},
        {"edge_split.npy", 2, &split, 1, "entry 2 is no split"},
        {"edge_weight.npy", 2, &nan_value, 4, "entry 2 is not finite"},
        {"label.npy", 1, &label, 4, "entry 1 is no class"},
        {"split.npy", 1, &split, 1, "entry 1 is no split"},
        {"feat_columns.npy", 1, &column, 4, "entry 1 is no feature column"},
        {"feat_values.npy", 1, &nan_value, 4, "entry 1 is not finite"},
        {"feat_indptr.npy", 1, &large, 8, "goes down"},
        {"node_ids.npy", 1, &zero, 8, "is the id of another node"},
        {"name_offsets.npy", 1, &five, 8, "does not stand behind a line end"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error = {.text = ""};
        make_graph("g", true);
        poke(cases[i].name, cases[i].item, cases[i].value, cases[i].bytes);
        assert_status(graph_check(in_folder("g"), &error), STATUS_CORRUPT, &error);
        if (strstr(error.text, cases[i].part) == NULL || strstr(error.text, cases[i].name) == NULL)
            fail_msg("\"%s\" has no \"%s\" and \"%s\"", error.text, cases[i].name, cases[i].part);
        remove_folder(in_folder("g"));
    }
}

static void mutated_metadata_never_crashes(void **state)
{
    (void)state;
    make_graph("g", true);
    struct bytes good = file_bytes(in_folder("g/metadata.yaml"));
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct rng rng = rng_make(seed);
        struct bytes bad = {.data = malloc(good.count), .count = good.count};
        assert_non_null(bad.data);
        memcpy(bad.data, good.data, good.count);
        for (uint64_t i = 0; i <= seed % 4; i++)
            bad.data[rng_below(&rng, bad.count)] = (char)rng_u64(&rng);
        restore(in_folder("g/metadata.yaml"), bad);
        struct error error = {.text = ""};
        enum status status = graph_check(in_folder("g"), &error);
        if (status != STATUS_OK && error.text[0] == '\0')
            fail_msg("seed %llu: no text", (unsigned long long)seed);
        free(bad.data);
    }
    free(good.data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_begin, folder_end)
    const struct CMUnitTest tests[] = {
        TEST(every_file_is_guarded),
        TEST(files_of_another_partition_are_refused),
        TEST(contradictions_in_metadata_are_refused),
        TEST(numbers_out_of_range_are_named),
        TEST(mutated_metadata_never_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* svmlight, NumPy arrays, triples and package lists; and the real data where it is at hand. */
#include "tests/unit/graph/graph_fixture.h"

#include <math.h>

#include "common/npy.h"
#include "graph/graph_check.h"
#include "graph/importers/package_list.h"
#include "graph/importers/word_index.h"

static void check_good(const char *name)
{
    struct error error = {.text = ""};
    assert_status(graph_check(in_folder(name), &error), STATUS_OK, &error);
}

static struct import_job svmlight_job(void)
{
    struct import_job job = job_make();
    job.nodes = write_text("n.svm", "1 0:1 3:4\n0\n-1 2:0.5 # unknown\n");
    job.edges = write_text("e.tsv", "0\t1\n2\t0\n");
    job.split = write_text("s.tsv", "0\ttrain\n2\ttest\n");
    return job;
}

static void svmlight_rows_become_nodes(void **state)
{
    (void)state;
    struct import_job job = svmlight_job();
    job.normalize = IMPORT_YES;
    import_good(import_svmlight, &job);
    check_good("g");
    struct graph *graph = open_good("g");
    const struct graph_info *info = graph_info(graph);
    assert_int_equal(info->node_count, 3);
    assert_int_equal(info->feature_dim, 4);
    assert_int_equal(info->class_count, 2);
    const uint64_t nodes[] = {2, 0, 1};
    int32_t labels[3];
    graph_labels(graph, nodes, 3, labels);
    assert_int_equal(labels[0], -1);
    assert_int_equal(labels[1], 1);
    assert_int_equal(labels[2], 0);
    struct arena *arena = arena_create(1);
    struct feature_rows rows;
    graph_features(graph, nodes, 3, arena, &rows);
    assert_int_equal(rows.indptr[3], 3);
    assert_int_equal(rows.columns[0], 2);
    assert_int_equal(rows.columns[2], 3);
    assert_true(rows.values[0] == 1.0f);
    assert_true(fabsf(rows.values[2] - 4.0f / sqrtf(17.0f)) < 1e-6f);
    arena_destroy(arena);
    uint64_t count;
    assert_int_equal(graph_split_ids(graph, GRAPH_SPLIT_TEST, &count)[0], 2);
    assert_int_equal(count, 1);
    (void)graph_split_ids(graph, GRAPH_SPLIT_NONE, &count);
    assert_int_equal(count, 1);
    assert_int_equal(edges_between(graph, 2, 0, -1), 1);
    graph_close(graph);
}

static void svmlight_damage_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *part;
    } cases[] = {
        {"n.svm", "x 0:1\n", "n.svm:1: \"x\" is no label"},
        {"n.svm", "1 0:1\n-2\n", "n.svm:2: \"-2\" is no label"},
        {"n.svm", "1 a:1\n", "has no column number"},
        {"n.svm", "1 01\n", "is no column:value"},
        {"n.svm", "1 4:1 4:2\n", "not greater than the one before"},
        {"n.svm", "1 4:inf\n", "no finite number"},
        {"n.svm", "1 4294967295:1\n", "no column number"},
        {"e.tsv", "0\t3\n", "e.tsv:1: \"3\": there is no node"},
        {"s.tsv", "0\ttrain\n0\tnever\n", "s.tsv:2: \"never\" is no split"},
        {"s.tsv", "9\ttrain\n", "s.tsv:1: node 9 does not exist: there are 3"},
        {"s.tsv", "0 train x\n", "s.tsv:1: expected 2 columns, found 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct import_job job = svmlight_job();
        write_text(cases[i].name, cases[i].text);
        import_refused(import_svmlight, &job, STATUS_CORRUPT, cases[i].part);
    }
    struct import_job job = svmlight_job();
    job.edges = NULL;
    import_refused(import_svmlight, &job, STATUS_USAGE, "--edges");
}

static const char *write_array(const char *name, enum npy_type type, uint64_t rows,
                               uint64_t columns, const void *data)
{
    const uint64_t shape[2] = {rows, columns};
    struct error error = {.text = ""};
    const char *path = in_folder(name);
    assert_status(npy_write(path, type, columns > 0 ? 2 : 1, shape, data, &error), STATUS_OK,
                  &error);
    return path;
}

static struct import_job numpy_job(void)
{
    static const int32_t edges[] = {0, 1, 2, 1, 2, 0};
    static const double features[] = {1, 2, 3, 4, 5, 6};
    static const int64_t labels[] = {2, -1, 0};
    static const uint8_t splits[] = {0, 1, 2, 2, 9, 0};
    struct import_job job = job_make();
    job.edge_index = write_array("edge_index.npy", NPY_I32, 2, 3, edges);
    job.features = write_array("features.npy", NPY_F64, 3, 2, features);
    job.labels = write_array("labels.npy", NPY_I64, 3, 0, labels);
    job.splits = write_array("splits.npy", NPY_U8, 2, 3, splits);
    return job;
}

static void numpy_arrays_become_a_graph(void **state)
{
    (void)state;
    struct import_job job = numpy_job();
    job.graph.partitions = 2;
    job.graph.by_range = true;
    import_good(import_numpy, &job);
    check_good("g");
    struct error error = {.text = ""};
    struct graph *graph = NULL;
    assert_status(graph_open(&graph, in_folder("g"), 2, &error), STATUS_CONFIG, &error);
    assert_status(graph_open(&graph, in_folder("g"), 1, &error), STATUS_OK, &error);
    const struct graph_info *info = graph_info(graph);
    assert_int_equal(info->split_count, 2);
    assert_int_equal(info->class_count, 3);
    assert_int_equal(info->feature_dim, 2);
    uint64_t count;
    assert_int_equal(graph_split_ids(graph, GRAPH_SPLIT_TRAIN, &count)[0], 2);
    assert_int_equal(count, 1);
    assert_int_equal(graph_split_ids(graph, GRAPH_SPLIT_TEST, &count)[0], 0);
    assert_int_equal(graph_split_ids(graph, GRAPH_SPLIT_NONE, &count)[0], 1);
    assert_int_equal(edges_between(graph, 0, 1, -1), 1);
    assert_int_equal(edges_between(graph, 1, 0, -1), 0);
    struct arena *arena = arena_create(1);
    struct feature_rows rows;
    const uint64_t nodes[] = {2, 0};
    graph_features(graph, nodes, 2, arena, &rows);
    const float expected[] = {5, 6, 1, 2};
    assert_memory_equal(rows.dense, expected, sizeof expected);
    arena_destroy(arena);
    graph_close(graph);
}

static void numpy_arrays_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const int32_t far[] = {0, 1, 2, 1, 2, 3};
    static const int32_t negative[] = {0, -1, 2, 1, 2, 0};
    static const float numbers[] = {0, 1, 2, 3};
    static const float nan_row[] = {0, NAN, 2, 3, 4, 5};
    static const int64_t labels[] = {0, 1, -2, 1};
    struct import_job job = numpy_job();
    write_array("edge_index.npy", NPY_I32, 2, 3, far);
    import_refused(import_numpy, &job, STATUS_CORRUPT,
                   "edge_index.npy:2: edge 2 to 3, expected nodes from 0 to below 3");
    write_array("edge_index.npy", NPY_I32, 2, 3, negative);
    import_refused(import_numpy, &job, STATUS_CORRUPT, "edge_index.npy:1: edge -1 to 2");
    write_array("edge_index.npy", NPY_I32, 3, 2, far);
    import_refused(import_numpy, &job, STATUS_CORRUPT, "[2, edges]");
    write_array("edge_index.npy", NPY_F32, 2, 2, numbers);
    import_refused(import_numpy, &job, STATUS_CORRUPT, "whole numbers");
    job = numpy_job();
    write_array("labels.npy", NPY_I64, 4, 0, labels);
    import_refused(import_numpy, &job, STATUS_CORRUPT, "labels.npy: 4 nodes, expected 3");
    write_array("labels.npy", NPY_I64, 3, 0, labels);
    import_refused(import_numpy, &job, STATUS_CORRUPT, "labels.npy:2: label -2");
    job = numpy_job();
    write_array("features.npy", NPY_F32, 3, 2, nan_row);
    import_refused(import_numpy, &job, STATUS_CORRUPT, "features.npy:0: a feature is not finite");
    job = numpy_job();
    write_array("splits.npy", NPY_F32, 2, 2, numbers);
    import_refused(import_numpy, &job, STATUS_CORRUPT, "splits.npy");
    job.splits = in_folder("absent.npz:member");
    import_refused(import_numpy, &job, STATUS_NOT_FOUND, "absent.npz");
}

static void matrices_in_fortran_order_are_turned(void **state)
{
    (void)state;
    static const char dictionary[] = "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }\n";
    static const int32_t by_column[] = {0, 1, 1, 2, 2, 0}; /* edges 0 to 1, 1 to 2, 2 to 0 */
    char file[256] = "\x93NUMPY\x01";
    const size_t header = sizeof dictionary - 1;
    file[8] = (char)header;
    memcpy(file + 10, dictionary, header);
    memcpy(file + 10 + header, by_column, sizeof by_column);
    struct import_job job = numpy_job();
    assert_int_equal(file_write_atomic(job.edge_index, file, 10 + header + sizeof by_column, NULL),
                     STATUS_OK);
    import_good(import_numpy, &job);
    struct graph *graph = open_good("g");
    assert_int_equal(edges_between(graph, 0, 1, -1), 1);
    assert_int_equal(edges_between(graph, 1, 2, -1), 1);
    assert_int_equal(edges_between(graph, 2, 0, -1), 1);
    graph_close(graph);
}

static struct import_job triples_job(void)
{
    struct import_job job = job_make();
    job.train = write_text("train.tsv", "paris\tcapital of\tfrance\nrome\tcapital of\titaly\n");
    job.valid = write_text("valid.tsv", "paris\tlies in\tfrance\n");
    job.test = write_text("test.tsv", "rome\tlies in\titaly\n");
    return job;
}

static void triples_become_typed_edges_with_splits(void **state)
{
    (void)state;
    struct import_job job = triples_job();
    job.reverse_chosen = true;
    job.graph.reverse = REVERSE_INVERSE;
    import_good(import_triples, &job);
    check_good("g");
    struct graph *graph = open_good("g");
    assert_int_equal(graph_info(graph)->edge_type_count, 4);
    assert_string_equal(graph_info(graph)->edge_types[3].name, "lies in-inverse");
    const uint64_t rome = node_named(graph, "rome"), italy = node_named(graph, "italy");
    assert_int_equal(edges_between(graph, rome, italy, 0), 1);
    assert_int_equal(edges_between(graph, italy, rome, 3), 1);
    const struct graph_partition *partition = &graph->partitions[0];
    const uint64_t first = partition->indptr[italy];
    assert_int_equal(partition->types[first], 0);
    assert_int_equal(partition->edge_splits[first], GRAPH_SPLIT_TRAIN);
    assert_int_equal(partition->types[first + 1], 1);
    assert_int_equal(partition->edge_splits[first + 1], GRAPH_SPLIT_TEST);
    graph_close(graph);
}

static void triples_damage_and_too_many_relations_are_named(void **state)
{
    (void)state;
    struct import_job job = triples_job();
    write_text("valid.tsv", "paris\tlies in\n");
    import_refused(import_triples, &job, STATUS_CORRUPT,
                   "valid.tsv:1: expected 3 columns (head, relation, tail), found 2");
    job = triples_job();
    job.ids = IMPORT_IDS_NUMBER;
    import_refused(import_triples, &job, STATUS_CORRUPT,
                   "train.tsv:1: \"paris\": the id is no number");
    job = triples_job();
    FILE *file = fopen(in_folder("train.tsv"), "w");
    assert_non_null(file);
    for (int i = 0; i < 65536; i++)
        fprintf(file, "a\t%d\tb\n", i);
    fclose(file);
    import_refused(import_triples, &job, STATUS_INVALID,
                   "train.tsv:65536: edge type \"65535\" is one too many: at most 65535");
}

static struct import_job debian_job(char lists[FILE_PATH_BYTES])
{
    struct import_job job = job_make();
    snprintf(lists, FILE_PATH_BYTES, "%s/tests/data/packages", source_dir());
    job.lists = lists;
    return job;
}

static void package_lists_become_a_graph(void **state)
{
    (void)state;
    char lists[FILE_PATH_BYTES];
    struct import_job job = debian_job(lists);
    struct graph_summary summary = import_good(import_debian, &job);
    check_good("g");
    assert_int_equal(summary.node_count, 6);
    assert_int_equal(summary.dropped.duplicates,
                     2);                      /* python3 names libc6 twice; both directions */
    assert_int_equal(job.dropped_targets, 2); /* libc-virtual, missing-package */
    struct graph *graph = open_good("g");
    const struct graph_info *info = graph_info(graph);
    assert_int_equal(info->edge_type_count, 10);
    assert_string_equal(info->edge_types[1].name, "pre-depends");
    assert_string_equal(info->edge_types[6].name, "pre-depends-inverse");
    const uint64_t editor = node_named(graph, "editor"), libc6 = node_named(graph, "libc6");
    assert_int_equal(edges_between(graph, editor, libc6, 0), 1);
    assert_int_equal(edges_between(graph, libc6, editor, 5), 1);
    assert_int_equal(edges_between(graph, editor, node_named(graph, "python3"), 0), 1);
    assert_int_equal(edges_between(graph, node_named(graph, "fonts"), editor, 3), 1);
    assert_int_equal(edges_between(graph, node_named(graph, "fonts"), editor, 4), 1);
    assert_int_equal(edges_between(graph, node_named(graph, "late"), editor, 0), 1);
    int32_t label;
    graph_labels(graph, &editor, 1, &label);
    assert_string_equal(info->class_names[label], "editors"); /* not that of the updates */
    const uint64_t fonts = node_named(graph, "fonts");
    graph_labels(graph, &fonts, 1, &label);
    assert_string_equal(info->class_names[label], "fonts");
    uint64_t train, valid, test;
    (void)graph_split_ids(graph, GRAPH_SPLIT_TRAIN, &train);
    (void)graph_split_ids(graph, GRAPH_SPLIT_VALID, &valid);
    (void)graph_split_ids(graph, GRAPH_SPLIT_TEST, &test);
    assert_int_equal(train, 3);
    assert_int_equal(valid, 1);
    assert_int_equal(test, 2);
    graph_close(graph);
}

static void missing_package_lists_say_what_to_do(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.lists = in_folder("absent");
    import_refused(import_debian, &job, STATUS_NOT_FOUND, "run apt-get update");
    job.lists = folder;
    import_refused(import_debian, &job, STATUS_NOT_FOUND, "run apt-get update");
    write_text("x_dists_y_main_binary-amd64_Packages", "Package: a\nDescription: b\nnonsense\n");
    import_refused(import_debian, &job, STATUS_CORRUPT, "_Packages:3: expected \"Field: value\"");
    write_text("x_dists_y_main_binary-amd64_Packages", "Section: a\n\nPackage: b\n");
    import_refused(import_debian, &job, STATUS_CORRUPT,
                   "_Packages:1: the stanza has no Package field");
}

static void word_weights_are_those_of_the_formula(void **state)
{
    (void)state;
    struct word_index *index = word_index_create();
    const char *texts[] = {"The cat, the CAT; a dog!", "cat-like \xc3\xa9t\xc3\xa9 x1y",
                           "dog zebra"};
    for (size_t i = 0; i < 3; i++)
        word_index_add(index, texts[i], strlen(texts[i]));
    /* cat and dog are in two documents; of the others \xc3\xa9t\xc3\xa9 is last by alphabet. */
    assert_int_equal(word_index_choose(index, 4), 4);
    size_t bytes;
    assert_memory_equal(word_index_word(index, 0, &bytes), "cat", 3);
    assert_memory_equal(word_index_word(index, 1, &bytes), "dog", 3);
    assert_memory_equal(word_index_word(index, 2, &bytes), "like", 4);
    assert_memory_equal(word_index_word(index, 3, &bytes), "the", 3);
    const uint32_t *columns;
    const float *values;
    assert_int_equal(word_index_row(index, 0, &columns, &values), 3);
    assert_int_equal(columns[0], 0);
    assert_int_equal(columns[1], 1);
    assert_int_equal(columns[2], 3);
    assert_true(fabs((double)values[0] - 2.0 * (log(4.0 / 3.0) + 1.0)) < 1e-6);
    assert_true(fabs((double)values[2] - 2.0 * (log(4.0 / 2.0) + 1.0)) < 1e-6);
    assert_int_equal(word_index_row(index, 2, &columns, &values), 1);
    word_index_destroy(index);
}

static void cora_is_imported_whole(void **state)
{
    (void)state;
    char nodes[FILE_PATH_BYTES], edges[FILE_PATH_BYTES], split[FILE_PATH_BYTES];
    const char *data = shared_data("cora");
    if (data == NULL) {
        print_message("skipped: ../shared/data/cora is not there\n");
        skip();
    }
    snprintf(nodes, sizeof nodes, "%s/nodes.svm", data);
    snprintf(edges, sizeof edges, "%s/edges.tsv", data);
    snprintf(split, sizeof split, "%s/split.tsv", data);
    struct import_job job = job_make();
    job.nodes = nodes;
    job.edges = edges;
    job.split = split;
    job.reverse_chosen = true;
    job.graph.reverse = REVERSE_SYMMETRIC;
    job.graph.partitions = 4;
    import_good(import_svmlight, &job);
    check_good("g");
    struct graph *graph = open_good("g");
    const struct graph_info *info = graph_info(graph);
    assert_int_equal(info->node_count, 2708);
    assert_int_equal(info->edge_count, 2 * 5278);
    assert_int_equal(info->feature_dim, 1433);
    assert_int_equal(info->class_count, 7);
    uint64_t train, valid, test;
    (void)graph_split_ids(graph, GRAPH_SPLIT_TRAIN, &train);
    (void)graph_split_ids(graph, GRAPH_SPLIT_VALID, &valid);
    (void)graph_split_ids(graph, GRAPH_SPLIT_TEST, &test);
    assert_int_equal(train, 140);
    assert_int_equal(valid, 500);
    assert_int_equal(test, 1000);
    graph_close(graph);
}

static void tolokers_in_fortran_order_is_read(void **state)
{
    (void)state;
    char edges[FILE_PATH_BYTES], splits[FILE_PATH_BYTES];
    const char *data = shared_data("tolokers");
    if (data == NULL) {
        print_message("skipped: ../shared/data/tolokers is not there\n");
        skip();
    }
    snprintf(edges, sizeof edges, "%s/edge_index.npy", data);
    snprintf(splits, sizeof splits, "%s/splits.npy", data);
    struct import_job job = job_make();
    job.edge_index = edges;
    job.splits = splits;
    job.graph.memory_bytes = 4u << 20;
    struct graph_summary summary = import_good(import_numpy, &job);
    assert_int_equal(summary.node_count, 11758);
    assert_int_equal(summary.edge_count, 2 * 519000);
    struct graph *graph = open_good("g");
    /* The first edges of the file: 0 to 11, 13, 14. */
    assert_int_equal(edges_between(graph, 0, 11, -1), 1);
    assert_int_equal(edges_between(graph, 0, 13, -1), 1);
    assert_int_equal(edges_between(graph, 0, 12, -1), 0);
    graph_close(graph);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_begin, folder_end)
    const struct CMUnitTest tests[] = {
        TEST(svmlight_rows_become_nodes),
        TEST(svmlight_damage_is_named),
        TEST(numpy_arrays_become_a_graph),
        TEST(numpy_arrays_that_do_not_fit_are_refused),
        TEST(matrices_in_fortran_order_are_turned),
        TEST(triples_become_typed_edges_with_splits),
        TEST(triples_damage_and_too_many_relations_are_named),
        TEST(package_lists_become_a_graph),
        TEST(missing_package_lists_say_what_to_do),
        TEST(word_weights_are_those_of_the_formula),
        TEST(cora_is_imported_whole),
        TEST(tolokers_in_fortran_order_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

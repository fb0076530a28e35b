/* Edge lists and node tables: what comes in is what the graph has, and bad rows are refused. */
#include "tests/unit/graph/graph_fixture.h"

#include <zlib.h>

static void edges_keep_ids_weights_types_and_times(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.edges = write_text("e.csv", "# a comment\n10,20,0.5,likes,-7\n\n20,30,1.5,knows,9\r\n"
                                    "30,18446744073709551615,2,likes,11\n");
    job.columns = "src,dst,weight,type,time";
    import_good(import_edges, &job);
    struct graph *graph = open_good("g");
    const struct graph_info *info = graph_info(graph);
    assert_int_equal(info->node_count, 4);
    assert_int_equal(info->edge_count, 3);
    assert_int_equal(info->edge_type_count, 2);
    assert_string_equal(info->edge_types[0].name, "likes");
    assert_string_equal(info->edge_types[1].name, "knows");
    assert_true(info->has_edge_weight && info->has_edge_time);
    const struct graph_neighbors view = graph_neighbors(graph, node_called(graph, 20));
    assert_int_equal(view.count, 1);
    assert_int_equal(graph_external_id(graph, graph_global(graph, 0, view.indices[0])), 10);
    assert_true(view.weights[0] == 0.5f);
    assert_int_equal(view.times[0], -7);
    assert_int_equal(view.types[0], 0);
    assert_int_equal(
        edges_between(graph, node_called(graph, 30), node_called(graph, UINT64_MAX), 0), 1);
    graph_close(graph);
}

static void names_are_kept_where_ids_are_no_numbers(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.edges = write_text("e.tsv", "alpha\tbeta gamma\nbeta gamma\tdelta\n");
    job.graph.partitions = 3;
    import_good(import_edges, &job);
    struct graph *graph = open_good("g");
    assert_int_equal(
        edges_between(graph, node_named(graph, "alpha"), node_named(graph, "beta gamma"), -1), 1);
    assert_int_equal(
        edges_between(graph, node_named(graph, "beta gamma"), node_named(graph, "delta"), -1), 1);
    assert_int_equal(graph_external_id(graph, node_named(graph, "delta")), 2);
    graph_close(graph);
}

static void a_node_table_brings_labels_splits_and_features(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.nodes =
        write_text("n.csv", "id,x,label,y,split\n7,1,red,2,train\n5,3,blue,4,test\n6,0,,0,\n");
    job.edges = write_text("e.csv", "from,to\n5,7\n");
    job.header = true;
    job.graph.partitions = 2;
    job.graph.by_range = true;
    import_good(import_edges, &job);
    struct graph *graph = open_good("g");
    const struct graph_info *info = graph_info(graph);
    assert_int_equal(info->node_count, 3);
    assert_int_equal(info->class_count, 2);
    assert_string_equal(info->class_names[0], "red");
    assert_int_equal(info->feature_dim, 2);
    uint64_t nodes[3] = {node_called(graph, 5), node_called(graph, 6), node_called(graph, 7)};
    int32_t labels[3];
    graph_labels(graph, nodes, 3, labels);
    assert_int_equal(labels[0], 1);
    assert_int_equal(labels[1], -1);
    assert_int_equal(labels[2], 0);
    uint64_t count;
    const uint64_t *train = graph_split_ids(graph, GRAPH_SPLIT_TRAIN, &count);
    assert_int_equal(count, 1);
    assert_int_equal(train[0], nodes[2]);
    struct arena *arena = arena_create(1);
    struct feature_rows rows;
    graph_features(graph, nodes, 3, arena, &rows);
    const float expected[6] = {3, 4, 0, 0, 1, 2};
    assert_memory_equal(rows.dense, expected, sizeof expected);
    arena_destroy(arena);
    graph_close(graph);
}

static void symmetric_edges_go_both_ways_once(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.edges = write_text("e", "1 2\n2 1\n3 3\n2 3\n2 3\n");
    job.graph.reverse = REVERSE_SYMMETRIC;
    job.reverse_chosen = true;
    struct graph_summary summary = import_good(import_edges, &job);
    assert_int_equal(summary.edge_count, 5); /* 1-2, 2-1, 2-3, 3-2, 3-3 */
    assert_int_equal(summary.dropped.duplicates, 4);
    struct graph *graph = open_good("g");
    assert_int_equal(edges_between(graph, node_called(graph, 3), node_called(graph, 2), -1), 1);
    assert_int_equal(edges_between(graph, node_called(graph, 3), node_called(graph, 3), -1), 1);
    graph_close(graph);
}

static void inverse_edges_have_types_of_their_own(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.edges = write_text("e", "1 2\n1 2\n3 3\n");
    job.graph.reverse = REVERSE_INVERSE;
    job.reverse_chosen = true;
    job.graph.drop_self_loops = true;
    struct graph_summary summary = import_good(import_edges, &job);
    assert_int_equal(summary.edge_count, 4);
    assert_int_equal(summary.dropped.self_loops, 1);
    struct graph *graph = open_good("g");
    const struct graph_info *info = graph_info(graph);
    assert_int_equal(info->edge_type_count, 2);
    assert_string_equal(info->edge_types[1].name, "edge-inverse");
    assert_true(info->edge_types[1].inverse && !info->edge_types[0].inverse);
    assert_int_equal(edges_between(graph, node_called(graph, 1), node_called(graph, 2), 0), 2);
    assert_int_equal(edges_between(graph, node_called(graph, 2), node_called(graph, 1), 1), 2);
    graph_close(graph);
}

static void bad_rows_are_named_with_file_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *columns, *part;
    } cases[] = {
        {"1 2\n3\n", NULL, "e.tsv:2: expected 2 columns, found 1"},
        {"1 2\n3 4 5\n", NULL, "e.tsv:2: expected 2 columns, found 3"},
        {"1 2\n\n# x\n3 x\n", NULL, "e.tsv:4: \"x\": the id is no number"},
        {"1 2\n3 99999999999999999999\n", NULL,
         "e.tsv:2: \"99999999999999999999\": the id does not fit in 64 bits"},
        {"1 2\n-3 4\n", NULL, "\"-3\": the id is no number"},
        {"1,2,3\n1,2,nan\n", "src,dst,weight", "e.tsv:2: \"nan\": the weight is no finite number"},
        {"1,2,3\n1,2,1e99\n", "src,dst,weight", "\"1e99\": the weight is no finite number"},
        {"1,2,3\n1,,3\n", "src,dst,weight", "the id is empty"},
        {"1,2,3\n1,2,3.5\n", "src,dst,time", "\"3.5\": the time is no whole number"},
        {"1,2,9223372036854775808\n", "src,dst,time", "the time is no whole number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct import_job job = job_make();
        job.edges = write_text("e.tsv", cases[i].text);
        job.columns = cases[i].columns;
        import_refused(import_edges, &job, STATUS_CORRUPT, cases[i].part);
    }
}

static void so_many_bad_rows_as_allowed_are_skipped(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.edges = write_text("e", "1 2\nx y\n7\n2 1\n");
    job.skip_bad = 2;
    import_good(import_edges, &job);
    assert_int_equal(job.bad_count, 2);
    struct graph *graph = open_good("g");
    assert_int_equal(graph_info(graph)->edge_count, 2);
    assert_int_equal(graph_info(graph)->node_count, 2); /* node 7 of the bad row is none */
    graph_close(graph);
    remove_folder(in_folder("g"));
    job = job_make();
    job.edges = in_folder("e");
    job.skip_bad = 1;
    import_refused(import_edges, &job, STATUS_CORRUPT,
                   "e:3: expected 2 columns, found 1 (after 1 bad");
}

static void wrong_requests_and_missing_files_are_refused(void **state)
{
    (void)state;
    struct import_job job = job_make();
    import_refused(import_edges, &job, STATUS_USAGE, "--edges");
    job.edges = in_folder("absent");
    import_refused(import_edges, &job, STATUS_NOT_FOUND, "absent");
    job.edges = write_text("e", "1 2\n");
    job.columns = "src,weight";
    import_refused(import_edges, &job, STATUS_USAGE, "src and dst are needed");
    job.columns = "src,dst,colour";
    import_refused(import_edges, &job, STATUS_USAGE, "\"colour\"");
    job.columns = "src,dst,src";
    import_refused(import_edges, &job, STATUS_USAGE, "src is there twice");
    job.columns = NULL;
    job.nodes = write_text("n", "a b\n");
    import_refused(import_edges, &job, STATUS_CORRUPT, "n:1: expected a header");
    job.nodes = write_text("n", "id label\n1 x\n1 y\n");
    import_refused(import_edges, &job, STATUS_CORRUPT, "n:3: \"1\": the node is there twice");
    job.nodes = write_text("n", "id\n1\n");
    import_refused(import_edges, &job, STATUS_CORRUPT, "e:1: \"2\": there is no node with this id");
}

static void a_folder_that_is_no_graph_is_left_alone(void **state)
{
    (void)state;
    struct error error = {.text = ""};
    struct graph_summary summary;
    struct import_job job = job_make();
    assert_int_equal(file_dir_create(in_folder("g"), NULL), STATUS_OK);
    write_text("g/precious", "x");
    job.edges = write_text("e", "1 2\n");
    assert_status(import_edges(&job, &summary, &error), STATUS_INVALID, &error);
    assert_true(file_exists(in_folder("g/precious")));
    assert_false(file_exists(in_folder("g.partial")));
}

static void a_failed_import_leaves_the_older_graph(void **state)
{
    (void)state;
    struct error error = {.text = ""};
    struct graph_summary summary;
    struct import_job job = job_make();
    job.edges = write_text("e", "1 2\n");
    import_good(import_edges, &job);
    job.edges = write_text("e", "1 2\n3\n");
    assert_status(import_edges(&job, &summary, &error), STATUS_CORRUPT, &error);
    struct graph *graph = open_good("g");
    assert_int_equal(graph_info(graph)->edge_count, 1);
    graph_close(graph);
    job.edges = write_text("e", "1 2\n3 4\n");
    import_good(import_edges, &job);
    graph = open_good("g");
    assert_int_equal(graph_info(graph)->edge_count, 2);
    graph_close(graph);
}

static void compressed_input_is_read_and_damage_to_it_is_seen(void **state)
{
    (void)state;
    gzFile file = gzopen(in_folder("e.gz"), "wb");
    for (int i = 0; i < 5000; i++)
        gzprintf(file, "%d %d\n", i, (i * 7919) % 5000);
    assert_int_equal(gzclose(file), Z_OK);
    struct import_job job = job_make();
    job.edges = in_folder("e.gz");
    assert_int_equal(import_good(import_edges, &job).edge_count, 5000);
    remove_folder(in_folder("g"));
    char *data;
    size_t bytes;
    assert_int_equal(file_read_all(in_folder("e.gz"), 1u << 20, &data, &bytes, NULL), STATUS_OK);
    assert_int_equal(file_write_atomic(in_folder("e.gz"), data, bytes / 2, NULL), STATUS_OK);
    import_refused(import_edges, &job, STATUS_CORRUPT, "damaged compressed data");
    free(data);
}

static void quotes_hold_separators_in_comma_separated_tables(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.edges = write_text("e.csv", "\"a,b\",\"say \"\"c\"\"\"\n d ,\"a,b\"\n");
    import_good(import_edges, &job);
    struct graph *graph = open_good("g");
    assert_int_equal(
        edges_between(graph, node_named(graph, "a,b"), node_named(graph, "say \"c\""), -1), 1);
    assert_int_equal(edges_between(graph, node_named(graph, "d"), node_named(graph, "a,b"), -1), 1);
    graph_close(graph);
}

static void an_empty_edge_list_is_an_empty_graph(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.edges = write_text("e", "");
    job.graph.partitions = 4;
    import_good(import_edges, &job);
    struct graph *graph = open_good("g");
    assert_int_equal(graph_info(graph)->node_count, 0);
    graph_close(graph);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_begin, folder_end)
    const struct CMUnitTest tests[] = {
        TEST(edges_keep_ids_weights_types_and_times),
        TEST(names_are_kept_where_ids_are_no_numbers),
        TEST(a_node_table_brings_labels_splits_and_features),
        TEST(symmetric_edges_go_both_ways_once),
        TEST(inverse_edges_have_types_of_their_own),
        TEST(bad_rows_are_named_with_file_and_line),
        TEST(so_many_bad_rows_as_allowed_are_skipped),
        TEST(wrong_requests_and_missing_files_are_refused),
        TEST(a_folder_that_is_no_graph_is_left_alone),
        TEST(a_failed_import_leaves_the_older_graph),
        TEST(compressed_input_is_read_and_damage_to_it_is_seen),
        TEST(quotes_hold_separators_in_comma_separated_tables),
        TEST(an_empty_edge_list_is_an_empty_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

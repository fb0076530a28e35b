/* anthill-graph as a user runs it: exit codes, output, and graphs that go out and come in again. */
#include "tests/unit/graph/graph_fixture.h"

/* Runs anthill-graph with these arguments in the test's folder. */
static int run(struct process *process, const char *const *arguments)
{
    char program[FILE_PATH_BYTES];
    const char *argv[24] = {program};
    snprintf(program, sizeof program, "%s/anthill-graph", bin_dir());
    for (size_t i = 0; arguments[i] != NULL; i++)
        argv[i + 1] = arguments[i];
    return process_run(process, folder, 120.0, argv);
}

#define RUN(process, ...) run(process, (const char *const[]){__VA_ARGS__, NULL})

static void expect(struct process *process, int found, int code, const char *out, const char *err)
{
    if (found != code) fail_msg("exit code %d, expected %d: %s", found, code, process->err);
    if (out != NULL && strstr(process->out, out) == NULL)
        fail_msg("stdout \"%s\" has no \"%s\"", process->out, out);
    if (err != NULL && strstr(process->err, err) == NULL)
        fail_msg("stderr \"%s\" has no \"%s\"", process->err, err);
    process_deinit(process);
}

static void bad_use_ends_with_64_and_bad_data_with_65(void **state)
{
    (void)state;
    struct process p;
    write_text("e.tsv", "1\t2\n3\n");
    expect(&p, RUN(&p, "import", "edges", "--edges", "e.tsv", "--out", "g"), 65, NULL,
           "e.tsv:2: expected 2 columns, found 1");
    expect(&p, RUN(&p, "import", "edges", "--edges", "absent", "--out", "g"), 66, NULL, "absent");
    expect(&p, RUN(&p, "import", "edges", "--edges", "e.tsv"), 64, NULL, "--out DIR is needed");
    expect(&p, RUN(&p, "import", "shapes", "--out", "g"), 64, NULL, "unknown format");
    expect(&p, RUN(&p, "import", "debian", "--edges", "e.tsv", "--out", "g"), 64, NULL,
           "--edges does not go with debian");
    expect(&p, RUN(&p, "import", "debian", "--lists", ".", "--out", "g"), 66, NULL,
           "run apt-get update");
    expect(&p, RUN(&p, "import", "edges", "--edges", "e.tsv", "-o", "g", "--partitions", "0"), 64,
           NULL, "--partitions");
    expect(&p, RUN(&p, "info", "absent"), 66, NULL, "absent/metadata.yaml");
    expect(&p, RUN(&p, "import", "--help"), 0, "--symmetric", NULL);
    assert_false(file_exists(in_folder("g")));
    assert_false(file_exists(in_folder("g.partial")));
}

static void skipped_rows_are_counted(void **state)
{
    (void)state;
    struct process p;
    write_text("e.tsv", "1\t2\n3\n");
    expect(&p, RUN(&p, "import", "edges", "--edges", "e.tsv", "--out", "g", "--skip-bad", "5"), 0,
           NULL, "left out: 1 bad rows");
    expect(&p, RUN(&p, "info", "g", "--json"), 0, "\"nodes\":2,\"edges\":1", NULL);
    expect(&p, RUN(&p, "check", "g"), 0, "g is whole", NULL);
    assert_int_equal(truncate(in_folder("g/part-0/indices.npy"), 5), 0);
    expect(&p, RUN(&p, "check", "g"), 65, NULL, "g/part-0/indices.npy: 5 bytes");
    expect(&p, RUN(&p, "info", "g"), 65, NULL, "g/part-0/indices.npy");
}

static void an_exported_graph_comes_in_again(void **state)
{
    (void)state;
    struct process p;
    write_text("e.csv", "a,b,1.5,x,1\nb,c,2.5,y,2\nc,a,3.5,x,3\na,a,4,y,4\n");
    write_text("n.csv", "id,label,split,f0\na,red,train,0.25\nb,blue,valid,1\nc,red,test,2\n");
    expect(&p,
           RUN(&p, "import", "edges", "--edges", "e.csv", "--nodes", "n.csv", "--columns",
               "src,dst,weight,type,time", "--inverse", "-o", "g"),
           0, NULL, NULL);
    expect(&p, RUN(&p, "export", "g", "--out", "x"), 0, NULL, NULL);
    expect(&p,
           RUN(&p, "import", "edges", "--edges", "x/edges.tsv", "--nodes", "x/nodes.tsv",
               "--header", "--columns", "src,dst,type,weight,time", "--inverse", "-o", "h"),
           0, NULL, NULL);
    static const char *const arrays[] = {"indptr",      "indices",   "edge_type",
                                         "edge_weight", "edge_time", "label",
                                         "split",       "node_feat", "node_ids"};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        char *first, *second;
        size_t first_bytes, second_bytes;
        char name[64];
        snprintf(name, sizeof name, "g/part-0/%s.npy", arrays[i]);
        assert_int_equal(file_read_all(in_folder(name), 1u << 20, &first, &first_bytes, NULL),
                         STATUS_OK);
        name[0] = 'h';
        assert_int_equal(file_read_all(in_folder(name), 1u << 20, &second, &second_bytes, NULL),
                         STATUS_OK);
        assert_int_equal(first_bytes, second_bytes);
        /* The order of first appearance numbers types, and it may differ. */
        if (strcmp(arrays[i], "edge_type") != 0) assert_memory_equal(first, second, first_bytes);
        free(first);
        free(second);
    }
    expect(&p, RUN(&p, "export", "g", "--out", "-"), 0, "a\tb\tx\t1.5\t1\n", NULL);
    expect(&p, RUN(&p, "export", "g", "--out", "x"), 65, NULL, "x exists");
}

static void partitioning_there_and_back_gives_the_same_graph(void **state)
{
    (void)state;
    struct process p;
    expect(&p,
           RUN(&p, "generate", "rmat", "--scale", "8", "--edges", "3000", "--features", "3",
               "--classes", "4", "-o", "g"),
           0, NULL, NULL);
    expect(&p, RUN(&p, "partition", "g", "--partitions", "3", "--out", "h"), 0, NULL, NULL);
    expect(&p, RUN(&p, "check", "h"), 0, NULL, NULL);
    expect(&p, RUN(&p, "partition", "h", "--partitions", "1", "--out", "i"), 0, NULL, NULL);
    expect(&p, RUN(&p, "check", "i"), 0, NULL, NULL);
    static const char *const arrays[] = {"indptr", "indices",   "label",
                                         "split",  "node_feat", "node_ids"};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        char first[FILE_PATH_BYTES], second[FILE_PATH_BYTES];
        snprintf(first, sizeof first, "%s/g/part-0/%s.npy", folder, arrays[i]);
        snprintf(second, sizeof second, "%s/i/part-0/%s.npy", folder, arrays[i]);
        const char *const argv[] = {"cmp", first, second, NULL};
        struct process compare;
        expect(&compare, process_run(&compare, NULL, 20.0, argv), 0, NULL, NULL);
    }
    expect(&p,
           RUN(&p, "sample", "h", "--fanouts", "5,5", "--batch", "16", "--batches", "2",
               "--seeds-from", "train"),
           0, "hop 2: ", NULL);
    expect(&p, RUN(&p, "sample", "h", "--seeds-from", "1,2,1"), 64, NULL, "\"1\" is none of train");
}

static void a_configuration_is_imported_once(void **state)
{
    (void)state;
    struct process p;
    write_text("e f.tsv", "1\t2\n2\t3\n");
    write_text("run.yaml",
               "graph:\n  path: out/g\n  import: edges --edges 'e f.tsv' --symmetric\n");
    expect(&p, RUN(&p, "import", "--config", "run.yaml"), 0, NULL, "3 nodes, 4 edges");
    expect(&p, RUN(&p, "import", "--config", "run.yaml"), 0, NULL, "up to date");
    write_text("e f.tsv", "1\t2\n2\t3\n3\t4\n");
    expect(&p, RUN(&p, "import", "--config", "run.yaml"), 0, NULL, "4 nodes, 6 edges");
    expect(&p,
           RUN(&p, "import", "--config", "run.yaml", "--set",
               "graph.import=edges --edges \"e f.tsv\""),
           0, NULL, "4 nodes, 3 edges");
    expect(&p, RUN(&p, "import", "--config", "run.yaml", "--set", "graph.import=edges --edges 'e"),
           78, NULL, "a quote is not closed");
    expect(&p, RUN(&p, "import", "--config", "run.yaml", "--set", "graph.import=shapes"), 78, NULL,
           "unknown format");
    expect(&p, RUN(&p, "import", "--config", "run.yaml", "--set", "graph.import="), 78, NULL,
           "graph.import is empty");
    expect(&p, RUN(&p, "import", "--config", "absent.yaml"), 66, NULL, "absent.yaml");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_begin, folder_end)
    const struct CMUnitTest tests[] = {
        TEST(bad_use_ends_with_64_and_bad_data_with_65),
        TEST(skipped_rows_are_counted),
        TEST(an_exported_graph_comes_in_again),
        TEST(partitioning_there_and_back_gives_the_same_graph),
        TEST(a_configuration_is_imported_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

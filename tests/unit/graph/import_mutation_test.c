/* Importers on input with random bytes changed, cut and doubled: whatever comes, they end with a
 * good graph or with a text, and leave nothing half done. */
#include "tests/unit/graph/graph_fixture.h"

#include "common/npy.h"
#include "common/rng.h"
#include "graph/graph_check.h"

#define ROUNDS 150

static void mutate(const char *path, const char *good, size_t bytes, uint64_t seed)
{
    static const char likely[] = "0123456789\t\n ,:-#\"\\.eE\0\r\xff|()";
    struct rng rng = rng_make(rng_key(seed, 1));
    char *bad = malloc(2 * bytes + 1);
    assert_non_null(bad);
    memcpy(bad, good, bytes);
    size_t count = bytes;
    for (uint64_t change = 0; change <= rng_below(&rng, 4); change++) {
        const size_t at = rng_below(&rng, count + 1), length = rng_below(&rng, count - at + 1);
        switch (rng_below(&rng, 4)) {
        case 0:
            if (at < count) bad[at] = (char)rng_u64(&rng);
            break;
        case 1:
            if (at < count) bad[at] = likely[rng_below(&rng, sizeof likely)];
            break;
        case 2:
            memmove(bad + at, bad + at + length, count - at - length);
            count -= length;
            break;
        default:
            if (count + length > 2 * bytes) break;
            memmove(bad + at + length, bad + at, count - at);
            count += length;
        }
    }
    assert_int_equal(file_write_atomic(path, bad, count, NULL), STATUS_OK);
    free(bad);
}

/* Changes `paths` in turn and imports. */
static void survive(import_function *import, const struct import_job *job, const char *const *paths,
                    size_t path_count)
{
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        struct error error = {.text = ""};
        struct graph_summary summary;
        struct import_job again = *job;
        const char *path = paths[seed % path_count];
        char *good;
        size_t bytes;
        assert_int_equal(file_read_all(path, 1u << 20, &good, &bytes, NULL), STATUS_OK);
        mutate(path, good, bytes, seed);
        again.skip_bad = seed % 2 == 0 ? 0 : 1000;
        enum status status = import(&again, &summary, &error);
        if (status == STATUS_OK)
            status = graph_check(in_folder("g"), &error);
        else if (file_exists(in_folder("g")))
            fail_msg("seed %llu: a graph after: %s", (unsigned long long)seed, error.text);
        else if (error.text[0] == '\0' || (status != STATUS_CORRUPT && status != STATUS_INVALID))
            fail_msg("seed %llu: %s \"%s\"", (unsigned long long)seed, status_name(status),
                     error.text);
        else
            status = STATUS_OK;
        if (status != STATUS_OK)
            fail_msg("seed %llu: a graph that is not whole: %s", (unsigned long long)seed,
                     error.text);
        assert_false(file_exists(in_folder("g.partial")));
        remove_folder(in_folder("g"));
        assert_int_equal(file_write_atomic(path, good, bytes, NULL), STATUS_OK);
        free(good);
    }
}

static void edge_lists_and_node_tables(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.edges = write_text("e.csv", "1,2,0.5,a,7\n2,3,1e3,\"b,c\",-7\n3,1,2,a,0\n3,3,2,d,1\n");
    job.nodes =
        write_text("n.csv", "id,label,split,x,y\n1,red,train,1,2\n2,blue,test,3,4\n3,,,5,6e-2\n");
    job.columns = "src,dst,weight,type,time";
    const char *const paths[] = {job.edges, job.nodes};
    survive(import_edges, &job, paths, 2);
}

static void svmlight_rows(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.nodes = write_text("n.svm", "1 0:1 3:4\n0 1:2 2:3 # x\n-1 2:0.5\n2\n");
    job.edges = write_text("e.tsv", "0\t1\n2\t0\n3\t1\n");
    job.split = write_text("s.tsv", "0\ttrain\n2\ttest\n1\tnone\n");
    job.normalize = IMPORT_YES;
    const char *const paths[] = {job.nodes, job.edges, job.split};
    survive(import_svmlight, &job, paths, 3);
}

static void triples(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.train = write_text("train.tsv", "1\tr\t2\n2\ts\t3\n3\tr\t1\n");
    job.valid = write_text("valid.tsv", "1\ts\t3\n");
    const char *const paths[] = {job.train, job.valid};
    survive(import_triples, &job, paths, 2);
}

static void numpy_arrays(void **state)
{
    (void)state;
    static const int32_t edges[] = {0, 1, 2, 1, 2, 0};
    static const float features[] = {1, 2, 3, 4, 5, 6};
    static const int64_t labels[] = {2, -1, 0};
    static const uint64_t wide[] = {2, 3}, tall[] = {3, 2};
    struct import_job job = job_make();
    job.edge_index = in_folder("e.npy");
    job.features = in_folder("f.npy");
    job.labels = in_folder("l.npy");
    assert_int_equal(npy_write(job.edge_index, NPY_I32, 2, wide, edges, NULL), STATUS_OK);
    assert_int_equal(npy_write(job.features, NPY_F32, 2, tall, features, NULL), STATUS_OK);
    assert_int_equal(npy_write(job.labels, NPY_I64, 1, tall, labels, NULL), STATUS_OK);
    const char *const paths[] = {job.edge_index, job.features, job.labels};
    survive(import_numpy, &job, paths, 3);
}

static void package_lists(void **state)
{
    (void)state;
    struct import_job job = job_make();
    job.lists = folder;
    const char *const paths[] = {write_text(
        "x_dists_y_main_binary-amd64_Packages",
        "Package: a\nDepends: b (>= 1) | c:any, d\nSection: x/y\nDescription: Some words\n"
        " and more\n\nPackage: b\nSuggests: a [amd64] <!nocheck>\nDescription: words\n\n"
        "Package: c\nEnhances: a, b\nSection: z\n")};
    survive(import_debian, &job, paths, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_begin, folder_end)
    const struct CMUnitTest tests[] = {
        TEST(edge_lists_and_node_tables),
        TEST(svmlight_rows),
        TEST(triples),
        TEST(numpy_arrays),
        TEST(package_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "graph/graph_arrays.h"

#include "common/check.h"

/* What the first dimension of an array counts. */
enum length { LENGTH_INNER, LENGTH_INNER_1, LENGTH_EDGES, LENGTH_HALO, LENGTH_VALUES };

static const struct {
    const char *name;
    enum npy_type type;
    enum length length;
} arrays[ARRAY_COUNT] = {
    [ARRAY_NODE_IDS] = {"node_ids.npy", NPY_U64, LENGTH_INNER},
    [ARRAY_INDPTR] = {"indptr.npy", NPY_U64, LENGTH_INNER_1},
    [ARRAY_INDICES] = {"indices.npy", NPY_U32, LENGTH_EDGES},
    [ARRAY_HALO] = {"halo.npy", NPY_U64, LENGTH_HALO},
    [ARRAY_EDGE_TYPE] = {"edge_type.npy", NPY_U16, LENGTH_EDGES},
    [ARRAY_EDGE_WEIGHT] = {"edge_weight.npy", NPY_F32, LENGTH_EDGES},
    [ARRAY_EDGE_TIME] = {"edge_time.npy", NPY_I64, LENGTH_EDGES},
    [ARRAY_EDGE_SPLIT] = {"edge_split.npy", NPY_U8, LENGTH_EDGES},
    [ARRAY_NODE_FEAT] = {"node_feat.npy", NPY_F32, LENGTH_INNER},
    [ARRAY_FEAT_INDPTR] = {"feat_indptr.npy", NPY_U64, LENGTH_INNER_1},
    [ARRAY_FEAT_COLUMNS] = {"feat_columns.npy", NPY_U32, LENGTH_VALUES},
    [ARRAY_FEAT_VALUES] = {"feat_values.npy", NPY_F32, LENGTH_VALUES},
    [ARRAY_LABEL] = {"label.npy", NPY_I32, LENGTH_INNER},
    [ARRAY_SPLIT] = {"split.npy", NPY_U8, LENGTH_INNER},
    [ARRAY_NAME_OFFSETS] = {"name_offsets.npy", NPY_U64, LENGTH_INNER_1},
};

static bool array_present(const struct graph_metadata *metadata, enum graph_array array)
{
    switch (array) {
    case ARRAY_EDGE_TYPE:
        return metadata->typed;
    case ARRAY_EDGE_WEIGHT:
        return metadata->weighted;
    case ARRAY_EDGE_TIME:
        return metadata->timed;
    case ARRAY_EDGE_SPLIT:
        return metadata->edge_split;
    case ARRAY_NODE_FEAT:
        return metadata->features == GRAPH_FEATURES_DENSE;
    case ARRAY_FEAT_INDPTR:
    case ARRAY_FEAT_COLUMNS:
    case ARRAY_FEAT_VALUES:
        return metadata->features == GRAPH_FEATURES_SPARSE;
    case ARRAY_LABEL:
        return metadata->labels;
    case ARRAY_SPLIT:
        return metadata->split_count > 0;
    case ARRAY_NAME_OFFSETS:
        return metadata->ids == GRAPH_IDS_NAME;
    default:
        return true;
    }
}

bool graph_array_shape(const struct graph_metadata *metadata, uint32_t partition,
                       enum graph_array array, struct graph_array_shape *shape)
{
    CHECK(array < ARRAY_COUNT && partition < metadata->partitions_count);
    const struct graph_metadata_partition *part = &metadata->partitions[partition];
    const uint64_t inner = part->end - part->start;
    const uint64_t lengths[] = {[LENGTH_INNER] = inner,
                                [LENGTH_INNER_1] = inner + 1,
                                [LENGTH_EDGES] = part->edge_count,
                                [LENGTH_HALO] = part->halo_count,
                                [LENGTH_VALUES] = part->value_count};
    *shape = (struct graph_array_shape){.name = arrays[array].name,
                                        .type = arrays[array].type,
                                        .dims = 1,
                                        .shape = {lengths[arrays[array].length], 1, 1, 1}};
    if (array == ARRAY_NODE_FEAT || array == ARRAY_SPLIT) {
        shape->dims = 2;
        shape->shape[1] = array == ARRAY_SPLIT ? metadata->split_count : metadata->feature_dim;
    }
    return array_present(metadata, array);
}

// The table of contents of the native side: what Python may call, with every type and shape checked and the GIL released.
//
// Arrays come in row order and are never converted here (noconvert): flmr/ops/arrays.py has made them ready.  Read-only
// arrays, memory maps among them, are welcome.  Results are written into arrays that Python allocated.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>

#include "kernels.h"

namespace nb = nanobind;

namespace {

struct Half {
  uint16_t bits;
};

}  // namespace

template <>
struct nb::detail::dtype_traits<Half> {
  static constexpr dlpack::dtype value{static_cast<uint8_t>(dlpack::dtype_code::Float), 16, 1};
  static constexpr auto name = nb::detail::const_name("float16");
};

namespace {

using namespace nb::literals;

template <class T, size_t axes>
using In = nb::ndarray<const T, nb::ndim<axes>, nb::c_contig, nb::device::cpu>;
template <class T, size_t axes>
using Out = nb::ndarray<T, nb::ndim<axes>, nb::c_contig, nb::device::cpu>;
using Vectors = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;  // float16 or float32

int64_t size(const auto& array, size_t axis) { return static_cast<int64_t>(array.shape(axis)); }

void need(bool holds, const char* what) {
  if (!holds) throw nb::value_error(what);
}

flmr::Rows rows_of(const Vectors& array) {
  const bool half = array.dtype() == nb::dtype<Half>();
  need(half || array.dtype() == nb::dtype<float>(), "vectors must be float16 or float32");
  need(array.shape(1) > 0, "vectors must have at least one dimension");
  return {array.data(), half, size(array, 0), size(array, 1)};
}

flmr::Ragged ragged_of(const Vectors& array, const In<int64_t, 1>& offsets) {
  need(offsets.shape(0) > 0, "offsets must not be empty");
  return {rows_of(array), offsets.data(), size(offsets, 0) - 1};
}

flmr::Run run_of(int threads, const std::string& isa) {
  need(threads >= 1, "threads must be at least 1");
  return {isa.c_str(), threads};
}

flmr::Precision precision_of(const std::string& name) {
  need(name == "float32" || name == "bfloat16", "precision must be float32 or bfloat16");
  return name == "float32" ? flmr::Precision::kFloat32 : flmr::Precision::kBfloat16;
}

void need_packed(size_t bytes, size_t dim, int nbits) {
  need(nbits == 1 || nbits == 2 || nbits == 3 || nbits == 4 || nbits == 8, "nbits must be 1, 2, 3, 4 or 8");
  need(dim > 0 && bytes == (dim * static_cast<size_t>(nbits) + 7) / 8, "packed rows have the wrong number of bytes");
}

void maxsim(Vectors queries, In<int64_t, 1> query_offsets, Vectors documents, In<int64_t, 1> document_offsets,
            Out<float, 2> scores, const std::string& precision, int threads, const std::string& isa) {
  const flmr::Ragged q = ragged_of(queries, query_offsets), d = ragged_of(documents, document_offsets);
  need(q.rows.dim == d.rows.dim, "queries and documents disagree in D");
  need(size(scores, 0) == q.items && size(scores, 1) == d.items, "scores have the wrong shape");
  const flmr::Run run = run_of(threads, isa);
  const flmr::Precision made_of = precision_of(precision);
  nb::gil_scoped_release release;
  flmr::maxsim(q, d, scores.data(), made_of, run);
}

void assign(Vectors vectors, In<float, 2> centroids, Out<uint32_t, 1> codes, Out<float, 1> distances, int threads,
            const std::string& isa) {
  const flmr::Rows rows = rows_of(vectors);
  need(size(centroids, 1) == rows.dim && centroids.shape(0) > 0, "centroids have the wrong shape");
  need(size(codes, 0) == rows.count && size(distances, 0) == rows.count, "results have the wrong shape");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::assign(rows, centroids.data(), size(centroids, 0), codes.data(), distances.data(), run);
}

void assign_rounded(Vectors vectors, In<int8_t, 2> centroids, In<float, 1> scales, Out<uint16_t, 1> codes,
                    Out<float, 1> distances, int threads, const std::string& isa) {
  const flmr::Rows rows = rows_of(vectors);
  need(size(centroids, 1) == rows.dim && centroids.shape(0) > 0, "centroids have the wrong shape");
  need(size(centroids, 0) <= 65536, "there are more than 65,536 centroids");
  need(scales.shape(0) == centroids.shape(0), "centroids and scales disagree in K");
  need(size(codes, 0) == rows.count && size(distances, 0) == rows.count, "results have the wrong shape");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::assign_rounded(rows, centroids.data(), scales.data(), size(centroids, 0), codes.data(), distances.data(), run);
}

void means(Vectors vectors, In<uint16_t, 1> codes, Out<float, 2> means, Out<int64_t, 1> counts, int threads,
           const std::string& isa) {
  const flmr::Rows rows = rows_of(vectors);
  need(size(codes, 0) == rows.count, "vectors and codes disagree in T");
  need(size(means, 1) == rows.dim && counts.shape(0) == means.shape(0), "results have the wrong shape");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::means(rows, codes.data(), size(means, 0), means.data(), counts.data(), run);
}

void multiply(Vectors vectors, Vectors rows, Out<float, 2> out, int threads, const std::string& isa) {
  const flmr::Rows left = rows_of(vectors), right = rows_of(rows);
  need(left.dim == right.dim, "vectors and rows disagree in D");
  need(size(out, 0) == left.count && size(out, 1) == right.count, "the result has the wrong shape");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::multiply(left, right, out.data(), run);
}

void need_levels(const In<int8_t, 1>& levels, int nbits) {
  need(levels.shape(0) == (nbits == 8 ? 256 : 64), "there must be 64 levels, or 256 at 8 bits");
}

void trellis_quantize(In<float, 2> residuals, In<int8_t, 1> levels, int spread, int nbits, In<float, 1> scale_table,
                      Out<uint8_t, 2> packed, Out<uint8_t, 1> scales, int threads, const std::string& isa) {
  need_packed(packed.shape(1), residuals.shape(1), nbits);
  need_levels(levels, nbits);
  need(spread >= 1 && scale_table.shape(0) == 256, "spread must be at least 1, and there must be 256 scales");
  need(packed.shape(0) == residuals.shape(0) && scales.shape(0) == residuals.shape(0), "results have the wrong shape");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::trellis_quantize(residuals.data(), size(residuals, 0), size(residuals, 1), levels.data(), spread, nbits,
                         scale_table.data(), packed.data(), scales.data(), run);
}

void trellis_unpack(In<uint8_t, 2> packed, int nbits, In<int8_t, 1> levels, Out<int8_t, 2> out) {
  need_packed(packed.shape(1), out.shape(1), nbits);
  need_levels(levels, nbits);
  need(packed.shape(0) == out.shape(0), "out has the wrong shape");
  nb::gil_scoped_release release;
  flmr::trellis_unpack(packed.data(), size(out, 0), size(out, 1), nbits, levels.data(), out.data());
}

void trellis_dequantize(In<uint8_t, 2> packed, In<uint8_t, 1> scales, int nbits, In<int8_t, 1> levels,
                        In<float, 1> scale_table, Out<float, 2> residuals, int threads, const std::string& isa) {
  need_packed(packed.shape(1), residuals.shape(1), nbits);
  need_levels(levels, nbits);
  need(scale_table.shape(0) == 256, "there must be 256 scales");
  need(packed.shape(0) == residuals.shape(0) && packed.shape(0) == scales.shape(0), "arrays disagree in T");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::trellis_dequantize(packed.data(), scales.data(), size(residuals, 0), size(residuals, 1), nbits, levels.data(),
                           scale_table.data(), residuals.data(), run);
}

void pool(Vectors vectors, In<int64_t, 1> offsets, int64_t factor, int64_t stretch, In<int64_t, 1> pooled_offsets,
          Out<float, 2> pooled, int threads, const std::string& isa) {
  const flmr::Ragged items = ragged_of(vectors, offsets);
  need(factor >= 1 && stretch >= factor && stretch % factor == 0, "stretch must be a multiple of factor");
  need(pooled_offsets.shape(0) == offsets.shape(0) && size(pooled, 1) == items.rows.dim, "results have the wrong shape");
  for (int64_t i = 0; i < items.items; ++i) {
    const int64_t rows = items.offsets[i + 1] - items.offsets[i];
    need(items.offsets[i] >= 0 && rows >= 0 && items.offsets[i + 1] <= items.rows.count, "offsets must rise");
    need(pooled_offsets.data()[i] >= 0 && pooled_offsets.data()[i + 1] <= size(pooled, 0) &&
             pooled_offsets.data()[i + 1] - pooled_offsets.data()[i] == (rows + factor - 1) / factor,
         "pooled offsets do not fit");
  }
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::pool(items, factor, stretch, pooled_offsets.data(), pooled.data(), run);
}

nb::object probe(In<float, 2> centroid_scores_QK, In<int64_t, 1> list_offsets, In<uint8_t, 1> lists, int64_t nprobe,
                 int64_t num_items, int threads, const std::string& isa) {
  need(list_offsets.shape(0) == centroid_scores_QK.shape(1) + 1, "centroid scores and list offsets disagree in K");
  need(nprobe >= 1 && num_items >= 0, "nprobe must be at least 1, num_items at least 0");
  const flmr::Run run = run_of(threads, isa);
  auto found = std::make_unique<std::vector<uint32_t>>();
  {
    nb::gil_scoped_release release;
    *found = flmr::probe(centroid_scores_QK.data(), size(centroid_scores_QK, 0), size(centroid_scores_QK, 1),
                         list_offsets.data(), lists.data(), size(lists, 0), nprobe, num_items, run);
  }
  uint32_t* data = found->data();
  const size_t count = found->size();
  nb::capsule owner(found.release(), [](void* p) noexcept { delete static_cast<std::vector<uint32_t>*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, uint32_t, nb::ndim<1>>(data, {count}, owner));
}

void score_flat(In<float, 2> query, In<uint32_t, 1> items, In<int64_t, 1> offsets, Vectors vectors,
                Out<float, 1> scores, const std::string& precision, int threads, const std::string& isa) {
  const flmr::Ragged documents = ragged_of(vectors, offsets);
  need(size(query, 1) == documents.rows.dim, "query and vectors disagree in D");
  need(scores.shape(0) == items.shape(0), "scores have the wrong shape");
  const flmr::Run run = run_of(threads, isa);
  const flmr::Precision made_of = precision_of(precision);
  nb::gil_scoped_release release;
  flmr::score_flat(query.data(), size(query, 0), documents, items.data(), size(items, 0), scores.data(), made_of, run);
}

int64_t merge_rows(In<float, 2> query, double most_lost, Out<float, 2> merged, const std::string& isa) {
  need(merged.shape(0) == query.shape(0) && merged.shape(1) == query.shape(1), "merged has the wrong shape");
  need(query.shape(1) > 0 && most_lost >= 0, "rows must have dimensions, what is lost must not be negative");
  nb::gil_scoped_release release;
  return flmr::merge_rows(query.data(), size(query, 0), size(query, 1), most_lost, merged.data(), isa.c_str());
}

int64_t blocks_of(int64_t rows) { return (rows + 31) / 32; }

void need_centroids(const In<int8_t, 2>& centroids, const In<float, 1>& scales, size_t dim) {
  need(centroids.shape(1) == dim && dim > 0, "query and centroids disagree in D");
  need(scales.shape(0) == centroids.shape(0) && centroids.shape(0) > 0 && centroids.shape(0) <= 65536,
       "there must be 1 to 65,536 centroids");
}

void score_table(In<float, 2> query, In<int8_t, 2> centroids, In<float, 1> centroid_scales, Out<float, 3> scores,
                 int threads, const std::string& isa) {
  need_centroids(centroids, centroid_scales, query.shape(1));
  need(size(scores, 0) == blocks_of(size(query, 0)) && scores.shape(1) == centroids.shape(0) && size(scores, 2) == 32,
       "scores have the wrong shape");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::score_table(query.data(), size(query, 0), centroids.data(), centroid_scales.data(), size(centroids, 0),
                    size(query, 1), scores.data(), run);
}

int few_rows(int64_t rows) { return rows <= 8 ? 8 : 16; }

void need_few(size_t blocks, size_t width, size_t rows) {
  const size_t expected = static_cast<size_t>(few_rows(static_cast<int64_t>(rows)));
  need(width == expected && blocks == (rows + expected - 1) / expected, "a table of merged rows has the wrong shape");
}

void few_table(In<float, 2> query, In<int8_t, 2> centroids, In<float, 1> centroid_scales, Out<float, 3> scores,
               int threads, const std::string& isa) {
  need_centroids(centroids, centroid_scales, query.shape(1));
  need_few(scores.shape(0), scores.shape(2), query.shape(0));
  need(scores.shape(1) == centroids.shape(0), "scores have the wrong shape");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::few_table(query.data(), size(query, 0), centroids.data(), centroid_scales.data(), size(centroids, 0),
                  size(query, 1), scores.data(), run);
}

float byte_table(In<float, 3> scores, In<float, 1> norms, float top, Out<uint8_t, 3> bytes, Out<float, 2> lows,
                 int threads, const std::string& isa) {
  need_few(scores.shape(0), scores.shape(2), norms.shape(0));
  need(bytes.shape(0) == scores.shape(0) && bytes.shape(1) == scores.shape(1) && bytes.shape(2) == scores.shape(2),
       "bytes have the wrong shape");
  need(lows.shape(0) == scores.shape(0) && lows.shape(1) == scores.shape(2), "lows have the wrong shape");
  need(top >= 1 && top <= 255, "top must lie within 1 and 255");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  return flmr::byte_table(scores.data(), norms.data(), size(norms, 0), size(scores, 1), top, bytes.data(), lows.data(),
                          run);
}

void rough(In<uint8_t, 3> bytes, In<uint8_t, 1> bonus, In<int16_t, 2> weights, float factor, float base,
           In<uint16_t, 1> codes, In<uint8_t, 1> scales, In<int64_t, 1> offsets, std::optional<In<uint32_t, 1>> items,
           Out<float, 1> out, int threads, const std::string& isa) {
  need((size(bytes, 2) == 8 || size(bytes, 2) == 16) && size(bytes, 1) > 0, "bytes have the wrong shape");
  need(weights.shape(0) == bytes.shape(0) && weights.shape(1) == bytes.shape(2), "weights have the wrong shape");
  need(size(bonus, 0) == 256, "there must be a bonus for each of 256 scales");
  need(codes.shape(0) == scales.shape(0), "codes and scales disagree in T");
  need(size(offsets, 0) > 0 && size(out, 0) == (items ? size(*items, 0) : size(offsets, 0) - 1),
       "offsets or scores have the wrong shape");
  const flmr::ByteTable table = {bytes.data(),   bonus.data(),   weights.data(),
                                 size(bytes, 0), size(bytes, 1), static_cast<int>(size(bytes, 2)),
                                 factor,         base};
  const flmr::Coded vectors = {codes.data(),   nullptr,        scales.data(),
                               offsets.data(), size(codes, 0), size(offsets, 0) - 1};
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::rough(table, vectors, items ? items->data() : nullptr, size(out, 0), out.data(), run);
}

void sketch_scores(In<float, 2> rows, In<uint8_t, 2> packed, In<uint8_t, 1> scales, In<int8_t, 1> levels,
                   In<float, 1> scale_table, Out<float, 2> out, int threads, const std::string& isa) {
  need(size(rows, 1) > 0, "the rows must have dimensions");
  need_packed(packed.shape(1), rows.shape(1), 1);
  need(rows.shape(0) == out.shape(0), "arrays disagree in M");
  need_levels(levels, 1);
  need(packed.shape(0) == scales.shape(0) && packed.shape(0) == out.shape(1), "arrays disagree in N");
  need(size(scale_table, 0) == 256, "there must be 256 scales");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::sketch_scores(rows.data(), size(rows, 0), size(rows, 1), packed.data(), scales.data(), size(packed, 0), levels.data(),
                      scale_table.data(), out.data(), run);
}

// What estimate and score_codes are given alike.
struct Wanted {
  flmr::Codebook book;
  flmr::Coded vectors;
  const uint32_t* items;
};

Wanted wanted_of(size_t dim, const In<int8_t, 2>& centroids, const In<float, 1>& centroid_scales,
                 const In<float, 1>& scale_table, const In<int8_t, 1>& levels, int nbits, const In<uint16_t, 1>& codes,
                 const In<uint8_t, 2>& packed, const In<uint8_t, 1>& scales, const In<int64_t, 1>& offsets,
                 const std::optional<In<uint32_t, 1>>& items, const Out<float, 1>& out) {
  need_centroids(centroids, centroid_scales, dim);
  need_packed(packed.shape(1), dim, nbits);
  need_levels(levels, nbits);
  need(size(scale_table, 0) == 256, "there must be 256 scales");
  need(codes.shape(0) == packed.shape(0) && codes.shape(0) == scales.shape(0), "arrays disagree in T");
  need(size(offsets, 0) > 0 && size(out, 0) == (items ? size(*items, 0) : size(offsets, 0) - 1),
       "offsets or scores have the wrong shape");
  return {{centroids.data(), centroid_scales.data(), scale_table.data(), levels.data(), size(centroids, 0),
           static_cast<int64_t>(dim), nbits},
          {codes.data(), packed.data(), scales.data(), offsets.data(), size(codes, 0), size(offsets, 0) - 1},
          items ? items->data() : nullptr};
}

void estimate(In<float, 2> query, In<float, 3> table, In<int8_t, 2> centroids, In<float, 1> centroid_scales,
              In<float, 1> scale_table, In<int8_t, 1> levels, int nbits, In<uint16_t, 1> codes, In<uint8_t, 2> packed,
              In<uint8_t, 1> scales, In<int64_t, 1> offsets, std::optional<In<uint32_t, 1>> items, Out<float, 1> out,
              int threads, const std::string& isa) {
  const Wanted wanted = wanted_of(query.shape(1), centroids, centroid_scales, scale_table, levels, nbits, codes, packed,
                                  scales, offsets, items, out);
  need_few(table.shape(0), table.shape(2), query.shape(0));
  need(table.shape(1) == centroids.shape(0), "the table has the wrong shape");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::estimate(query.data(), size(query, 0), table.data(), wanted.book, wanted.vectors, wanted.items, size(out, 0),
                 out.data(), run);
}

void score_codes(In<float, 2> query, std::optional<In<float, 3>> table, In<int8_t, 2> centroids,
                 In<float, 1> centroid_scales, In<float, 1> scale_table, In<int8_t, 1> levels, int nbits,
                 In<uint16_t, 1> codes, In<uint8_t, 2> packed, In<uint8_t, 1> scales, In<int64_t, 1> offsets,
                 std::optional<In<uint32_t, 1>> items, Out<float, 1> out, int threads, const std::string& isa) {
  const Wanted wanted = wanted_of(query.shape(1), centroids, centroid_scales, scale_table, levels, nbits, codes, packed,
                                  scales, offsets, items, out);
  need(!table || (size(*table, 0) == blocks_of(size(query, 0)) && table->shape(1) == centroids.shape(0) &&
                  size(*table, 2) == 32),
       "the table has the wrong shape");
  const flmr::Run run = run_of(threads, isa);
  nb::gil_scoped_release release;
  flmr::score_codes(query.data(), size(query, 0), table ? table->data() : nullptr, wanted.book, wanted.vectors,
                    wanted.items, size(out, 0), out.data(), run);
}

int64_t best_rows(In<float, 1> scores, Out<uint32_t, 1> rows) {
  need(size(rows, 0) <= size(scores, 0), "more rows are wanted than there are");
  nb::gil_scoped_release release;
  return flmr::best_rows(scores.data(), size(scores, 0), size(rows, 0), rows.data());
}

int64_t topk(In<float, 1> scores, std::optional<In<int64_t, 1>> ranks, Out<int64_t, 1> rows, const std::string& isa) {
  need(!ranks || ranks->shape(0) == scores.shape(0), "scores and ranks disagree in length");
  const int64_t* order = ranks ? ranks->data() : nullptr;
  nb::gil_scoped_release release;
  return flmr::topk(scores.data(), size(scores, 0), order, size(rows, 0), rows.data(), isa.c_str());
}

}  // namespace

NB_MODULE(_native, m) {
  // flmr::Refused is a std::invalid_argument, which nanobind raises as ValueError.
  m.def("isas", &flmr::simd_names);
  m.def("maxsim", &maxsim, "queries"_a.noconvert(), "query_offsets"_a.noconvert(), "documents"_a.noconvert(),
        "document_offsets"_a.noconvert(), "scores"_a.noconvert(), "precision"_a, "threads"_a, "isa"_a);
  m.def("assign", &assign, "vectors"_a.noconvert(), "centroids"_a.noconvert(), "codes"_a.noconvert(),
        "distances"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("assign_rounded", &assign_rounded, "vectors"_a.noconvert(), "centroids"_a.noconvert(), "scales"_a.noconvert(),
        "codes"_a.noconvert(), "distances"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("means", &means, "vectors"_a.noconvert(), "codes"_a.noconvert(), "means"_a.noconvert(),
        "counts"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("multiply", &multiply, "vectors"_a.noconvert(), "rows"_a.noconvert(), "out"_a.noconvert(), "threads"_a,
        "isa"_a);
  m.def("trellis_quantize", &trellis_quantize, "residuals"_a.noconvert(), "levels"_a.noconvert(), "spread"_a, "nbits"_a,
        "scale_table"_a.noconvert(), "packed"_a.noconvert(), "scales"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("trellis_unpack", &trellis_unpack, "packed"_a.noconvert(), "nbits"_a, "levels"_a.noconvert(),
        "out"_a.noconvert());
  m.def("trellis_dequantize", &trellis_dequantize, "packed"_a.noconvert(), "scales"_a.noconvert(), "nbits"_a,
        "levels"_a.noconvert(), "scale_table"_a.noconvert(), "residuals"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("pool", &pool, "vectors"_a.noconvert(), "offsets"_a.noconvert(), "factor"_a, "stretch"_a,
        "pooled_offsets"_a.noconvert(), "pooled"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("probe", &probe, "centroid_scores"_a.noconvert(), "list_offsets"_a.noconvert(), "lists"_a.noconvert(),
        "nprobe"_a, "num_items"_a, "threads"_a, "isa"_a);
  m.def("score_flat", &score_flat, "query"_a.noconvert(), "items"_a.noconvert(), "offsets"_a.noconvert(),
        "vectors"_a.noconvert(), "scores"_a.noconvert(), "precision"_a, "threads"_a, "isa"_a);
  m.def("merge_rows", &merge_rows, "query"_a.noconvert(), "most_lost"_a, "merged"_a.noconvert(), "isa"_a);
  m.def("score_table", &score_table, "query"_a.noconvert(), "centroids"_a.noconvert(), "centroid_scales"_a.noconvert(),
        "scores"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("byte_table", &byte_table, "scores"_a.noconvert(), "norms"_a.noconvert(), "top"_a, "bytes"_a.noconvert(),
        "lows"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("rough", &rough, "bytes"_a.noconvert(), "bonus"_a.noconvert(), "weights"_a.noconvert(), "factor"_a, "base"_a,
        "codes"_a.noconvert(), "scales"_a.noconvert(), "offsets"_a.noconvert(), "items"_a.noconvert().none(),
        "out"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("few_table", &few_table, "query"_a.noconvert(), "centroids"_a.noconvert(), "centroid_scales"_a.noconvert(),
        "scores"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("sketch_scores", &sketch_scores, "rows"_a.noconvert(), "packed"_a.noconvert(), "scales"_a.noconvert(),
        "levels"_a.noconvert(), "scale_table"_a.noconvert(), "out"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("estimate", &estimate, "query"_a.noconvert(), "table"_a.noconvert(), "centroids"_a.noconvert(),
        "centroid_scales"_a.noconvert(), "scale_table"_a.noconvert(), "levels"_a.noconvert(), "nbits"_a,
        "codes"_a.noconvert(), "packed"_a.noconvert(), "scales"_a.noconvert(), "offsets"_a.noconvert(),
        "items"_a.noconvert().none(), "out"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("score_codes", &score_codes, "query"_a.noconvert(), "table"_a.noconvert().none(), "centroids"_a.noconvert(),
        "centroid_scales"_a.noconvert(), "scale_table"_a.noconvert(), "levels"_a.noconvert(), "nbits"_a,
        "codes"_a.noconvert(), "packed"_a.noconvert(), "scales"_a.noconvert(), "offsets"_a.noconvert(),
        "items"_a.noconvert().none(), "out"_a.noconvert(), "threads"_a, "isa"_a);
  m.def("best_rows", &best_rows, "scores"_a.noconvert(), "rows"_a.noconvert());
  m.def("topk", &topk, "scores"_a.noconvert(), "ranks"_a.noconvert().none(), "rows"_a.noconvert(), "isa"_a);
}

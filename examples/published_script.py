"""Index, search and train as a script for the published package does: `python examples/published_script.py [FOLDER]`.

The names, arguments and results are those that FLMR and PreFLMR were published with; only the checkpoint is ours.
"""

import sys
from pathlib import Path

import flmr.model
from flmr import (
    FLMRContextEncoderTokenizer,
    FLMRModelForRetrieval,
    FLMRQueryEncoderTokenizer,
    create_searcher,
    index_custom_collection,
    search_custom_collection,
)
from flmr.data.sample import passages, render
from flmr.model.image_processor import preprocess

checkpoint_path = sys.argv[1] if len(sys.argv) > 1 else str(Path(flmr.model.__file__).parent / "bundled")
query_tokenizer = FLMRQueryEncoderTokenizer.from_pretrained(checkpoint_path, subfolder="query_tokenizer")
context_tokenizer = FLMRContextEncoderTokenizer.from_pretrained(checkpoint_path, subfolder="context_tokenizer")
model = FLMRModelForRetrieval.from_pretrained(
    checkpoint_path, query_tokenizer=query_tokenizer, context_tokenizer=context_tokenizer
)

passage_contents = [passage.full_text for passage in passages()]
where = {"index_root_path": ".", "index_experiment_name": "figures", "index_name": "published", "nbits": 8}
index_custom_collection(custom_collection=passage_contents, model=model, overwrite=True, use_gpu=False, **where)

query_texts = ["With the picture at hand, look up what answers the question: Which sort of figure is shown?"]
encoding = query_tokenizer(query_texts)
pixel_values = preprocess([render("astroid", seed=1, style="ink")], model.config)  # or an AutoImageProcessor
query_embeddings = model.query(**encoding, pixel_values=pixel_values).late_interaction_output
ranking = search_custom_collection(
    searcher=create_searcher(use_gpu=False, **where),
    queries=dict(enumerate(query_texts)),
    query_embeddings=query_embeddings,
    num_document_to_retrieve=3,
)
found = ranking.todict()[0]
for place, rank, score in found:
    print(f"{rank}. {score:.2f}  {passage_contents[place]}")

documents = context_tokenizer([passage_contents[place] for place, _, _ in found[:2]])  # one positive, one negative
output = model.forward(
    query_input_ids=encoding["input_ids"],
    query_attention_mask=encoding["attention_mask"],
    query_pixel_values=pixel_values,
    context_input_ids=documents["input_ids"],
    context_attention_mask=documents["attention_mask"],
    num_negative_examples=1,
)
output.loss.backward()
print(f"contrastive loss {output.loss.item():.3f}")

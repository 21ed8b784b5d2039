"""Small data sets in the layouts that the large ones are published in, each written by hand for the tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hash_encoder import COLOURS
from json_lines import write_jsonl
from PIL import Image

M2KR_SUBSETS = {
    "wit": "WIT",
    "iglue": "IGLUE",
    "kvqa": "KVQA",
    "cc3m": "CC",
    "msmarco": "MSMARCO",
    "oven": "OVEN",
    "llava": "LLaVA",
    "okvqa": "OKVQA",
    "infoseek": "Infoseek",
    "evqa": "EVQA",
}
WITHOUT_WORDS = {"WIT", "IGLUE", "KVQA", "CC"}
WITH_ANSWERS = {"OKVQA", "Infoseek", "EVQA"}


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_picture(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), COLOURS[colour]).save(path)


def write_m2kr(folder: Path, name: str, splits: Sequence[str] = ("train", "valid", "test"), *, parts: int = 1) -> None:
    """One subset: a thing of each colour and number 0 to 3 in every split, asked for by its picture and its number."""
    subset = M2KR_SUBSETS[name]
    for split in splits:
        questions: list[dict[str, Any]] = []
        passages = []
        for colour in COLOURS:
            if subset != "MSMARCO":
                write_picture(folder / "images" / subset / f"{split}/{colour}.png", colour)
            for n in range(4):
                content = f"{colour} thing {n}"
                passages.append({"language": "en", "passage_id": f"P_{colour}_{n}", "passage_content": content})
                questions.append(
                    {
                        "question_id": f"{subset}_{split}_{colour}_{n}",
                        "question": None if subset in WITHOUT_WORDS else f"which {colour} is {n}",
                        "instruction": "Published words:" if n else "",
                        "img_path": None if subset == "MSMARCO" else f"{split}/{colour}.png",
                        "pos_item_ids": [f"P_{colour}_{n}"],
                        "pos_item_contents": [content],
                    }
                )
                if subset in WITH_ANSWERS:
                    questions[-1] |= {"answers": [f" {colour.upper()} ", "\t"], "gold_answer": colour}
        for part in range(parts):
            name_of_part = f"{part:05}-of-{parts:05}.parquet"
            write_parquet(folder / f"{subset}_data/{split}-{name_of_part}", questions[part::parts])
            write_parquet(folder / f"{subset}_passages/{split}_passages-{name_of_part}", passages[part::parts])


def write_okvqa(folder: Path) -> None:
    questions = [{"image_id": 42, "question": "Which metal is it made of?", "question_id": 425}]
    answers = [{"answer_id": i, "raw_answer": a, "answer": a} for i, a in enumerate(["copper", "copper", "brass"])]
    for coco in ("train2014", "val2014"):
        document = {"info": {"year": 2019}, "questions": questions}
        write_text(folder / f"OpenEnded_mscoco_{coco}_questions.json", json.dumps(document))
        annotated = {"annotations": [{"question_id": 425, "image_id": 42, "answers": answers}]}
        write_text(folder / f"mscoco_{coco}_annotations.json", json.dumps(annotated, indent=1))
    write_text(folder / "okvqa_train_corpus.csv", 'kid,text\n0,"copper, said\nto be red"\n')
    write_text(
        folder / "passages/okvqa_full_corpus.csv", 'kid,text\n0,"copper, said\nto be red"\n1,"a ""brass"" bell"\n'
    )


def write_wiki6m(folder: Path) -> None:
    rows = [
        {"wikidata_id": "Q1", "wikipedia_title": "Heron", "wikipedia_content": "A wading bird. " * 400},
        {"wikidata_id": "Q2", "wikipedia_title": "Newt", "wikipedia_content": "An amphibian."},
    ]
    with gzip.open(folder / "Wiki6M_ver_1_0.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(
            json.dumps({**row, "wikipedia_summary": "", "wikipedia_image_url": None}) + "\n" for row in rows
        )


def write_infoseek(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_wiki6m(folder)
    for split in ("train", "val"):
        row = {
            "data_id": f"infoseek_{split}_00000000",
            "image_id": "oven_01963180",
            "question": "How long is it?",
            "answer": ["1 m"],
            "answer_eval": ["1 metre", {"wikidata": 1.0, "range": [0.9, 1.1]}],
            "data_split": split,
        }
        write_jsonl(folder / f"infoseek_data/infoseek_{split}.jsonl", [row])
        linked = {"data_id": row["data_id"], "entity_id": "Q1", "entity_text": "Heron"}
        write_jsonl(folder / f"infoseek_data/infoseek_{split}_withkb.jsonl", [linked])
    write_picture(folder / "infoseek_images/01/oven_01963180.JPEG")


def write_oven(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_wiki6m(folder)
    for kind in ("entity", "query"):
        for split in ("train", "val"):
            row = {
                "data_id": f"oven_{kind}_{split}_00000000",
                "image_id": "oven_00000007",
                "question": "what is the species of this animal?",
                "entity_id": "Q2",
                "entity_text": "Newt",
                "data_split": f"{split}_{kind}",
            }
            write_jsonl(folder / f"oven_{kind}_{split}.jsonl", [row])
    write_picture(folder / "oven_images/oven_00000007.jpg")


EVQA_HEADER = (
    "question,answer,dataset_image_ids,dataset_name,dataset_category_id,question_type,wikipedia_url,wikipedia_title,"
    "evidence,evidence_section_id,evidence_section_title,encyclopedic_vqa_split\n"
)


def write_evqa(folder: Path) -> None:
    url = "https://en.wikipedia.org/wiki"
    for split in ("train", "val", "test"):
        write_text(
            folder / f"{split}.csv",
            EVQA_HEADER
            + f"How tall is it?,2 m|two metres,17|18,inaturalist,4,templated,{url}/Fern,Fern,2 m.,1,Size,{split}\n"
            + f"Who built it?,Anna&&Ben,abcdef,landmarks,5,2_hop,{url}/Fern|{url}/Moss,Fern|Moss,,0|,,\n",
        )
    articles = {
        f"{url}/Fern": ("Fern", ["Fern", "Size"], ["A plant.", "It is 2 m tall."]),
        f"{url}/Moss": ("Moss", ["Moss", "Gallery"], ["A small plant.", " "]),
    }
    document = {
        address: {"title": title, "section_titles": titles, "section_texts": texts, "image_urls": [], "url": address}
        for address, (title, titles, texts) in articles.items()
    }
    write_text(folder / "encyclopedic_kb_wiki.json", json.dumps(document))


def write_kvqa(folder: Path) -> None:
    document = {
        str(key): {
            "NamedEntities": ["Ada"],
            "Qids": ["Q7259"],
            "wikiCap": f"Ada in picture {key}",
            "imgPath": f"KVQAimgs/{key}.jpg",
            "Questions": ["Who is in the picture?", "How many people?"],
            "ParaQuestions": ["Whom does the picture show?", "How many?"],
            "Answers": ["Ada", 1],
            "Type of Question": [["1-hop"], ["counting"]],
            "split": [number, 1, 1, 1, 1],
        }
        for key, number in ((100, 1), (200, 2), (300, 3))
    }
    write_text(folder / "dataset.json", json.dumps(document))


WIT_HEADER = (
    "language\tpage_url\timage_url\tpage_title\tsection_title\thierarchical_section_title\t"
    "caption_reference_description\tcontext_page_description\tcontext_section_description\n"
)


def write_wit(folder: Path) -> None:
    page = "https://en.wikipedia.org/wiki/Arch"
    rows = [
        ("en", page, "https://upload.org/a/Arch_1.jpg", "Arch", "Roman arches", "", "An arch", "Curved.", "Round."),
        ("en", page, "https://upload.org/a/Arch_2.jpg", "Arch", "Roman arches", "", "Another", "Curved.", "Round."),
        ("en", page, "https://upload.org/a/Arch_3.jpg", "Arch", "", "", "", "Curved.", ""),
        ("de", page, "https://upload.org/a/Bogen.jpg", "Bogen", "", "", "", "Gebogen.", ""),
        ("en", page, "https://upload.org/a/Arch_4.jpg", "Arch", "Gallery", "", "", "", ""),
    ]
    text = WIT_HEADER + "".join("\t".join(row) + "\n" for row in rows)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val", "test"):
        with gzip.open(folder / f"wit_v1.{split}.all-00000-of-00001.tsv.gz", "wt", encoding="utf-8") as file:
            file.write(text)


def write_msmarco(folder: Path) -> None:
    write_text(folder / "collection.tsv", '0\tA "quoted passage\n1\tAnother one\n')
    for split in ("train", "dev.small"):
        write_text(folder / f"queries.{split}.tsv", "7\twhat is quoted\n8\tnobody judged this\n")
        write_text(folder / f"qrels.{split}.tsv", "7\t0\t0\t1\n")

from trainer.processor import processor


def test_two_generations_of_one_brand_have_two_names(tmp_path):
    names = []
    for model in (1, 17):
        file = tmp_path / f"cpuinfo{model}"
        file.write_text(f"processor : 0\ncpu family\t: 25\nmodel\t\t: {model}\nmodel name\t: AMD EPYC\n\nprocessor : 1\n")
        names.append(processor(file))
    assert names == ["AMD EPYC (family 25, model 1)", "AMD EPYC (family 25, model 17)"]


def test_a_machine_that_tells_less_has_a_name_all_the_same(tmp_path):
    assert processor(tmp_path / "none")
    (tmp_path / "arm").write_text("processor : 0\nBogoMIPS : 50\n")
    assert processor(tmp_path / "arm")

"""Names of the place where h is."""

import pytest
from singular_edit.core import EditError
from singular_edit.core.layers import AUTO, MIDDLE_BLOCK, block_layer, block_of, choose_block


def test_a_name_is_read_as_it_is_written():
    assert block_layer(3) == "double_block:3"
    assert [block_of(block_layer(i)) for i in (0, 3, 18)] == [0, 3, 18]
    assert block_of(MIDDLE_BLOCK) is None


@pytest.mark.parametrize(
    ("blocks", "depth", "block"), [(1, 0.5, 0), (4, 0.5, 1), (12, 0.5, 5), (12, 0, 0), (12, 1, 11)]
)
def test_auto_stands_after_a_share_of_the_blocks(blocks, depth, block):
    assert choose_block(AUTO, blocks, depth) == block_layer(block)


@pytest.mark.parametrize("layer", ["double_block:4", MIDDLE_BLOCK])
def test_a_block_that_is_not_there_gets_a_sentence(layer):
    assert choose_block("double_block:3", 4, 0.5) == "double_block:3"
    with pytest.raises(EditError, match=f"'{layer}' but this model is a transformer of 4 blocks; 'double_block:0' to "):
        choose_block(layer, 4, 0.5)


@pytest.mark.parametrize("layer", ["", "double_block", "double_block:", "double_block:-1", "single_block:3", "3"])
def test_what_is_no_layer_gets_a_sentence(layer):
    with pytest.raises(EditError, match=r"; 'middle_block' \(of a U-Net\) or"):
        block_of(layer)

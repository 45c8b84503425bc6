#![allow(unsafe_code)]

use super::*;

#[test]
fn parts_are_read_while_others_are_written() {
    let whole = Elements::from((0..24).collect::<Vec<i64>>());
    let (dims, strides) = ([2, 2, 3], [12, 6, 1]);
    let left = whole.part(&dims, 0, &strides);
    let right = whole.part(&dims, 3, &strides);
    let of = [(&left, &dims[..], false)];
    // SAFETY: the one target that is written; what is read meanwhile is named.
    let mut right = unsafe { right.target(&dims, of.into_iter()) }.unwrap();
    right.gather(&dims, &left, &[12, 6, 1], 0);
    assert_eq!(whole[..12], [0, 1, 2, 0, 1, 2, 6, 7, 8, 6, 7, 8]);
    let mut lines = right.lines_mut(&dims);
    assert_eq!(lines.line(3, 0), [18, 19, 20]);
    // Overlapping by one column.
    let middle = whole.part(&dims, 2, &strides);
    let of = |may| [(&left, &dims[..], may)].into_iter();
    // SAFETY: nothing is written.
    let may = |e: &Elements<i64>, may| unsafe { e.clone().target(&dims, of(may)) }.is_some();
    assert!(!may(&middle, true) && !may(&left, false) && may(&left, true));
}

#[test]
#[should_panic(expected = "not inside")]
fn parts_stay_inside() {
    Elements::from(vec![0; 4]).part(&[2, 2], 1, &[2, 1]);
}

#[test]
fn parts_without_elements_lie_anywhere() {
    let all = Elements::from(vec![0; 4]);
    for (dims, strides) in [([2, 0], [0, 1]), ([0, 2], [2, 1]), ([4, 0], [1, 1])] {
        let part = all.part(&dims, 9, &strides);
        assert_eq!(part.len(), 0);
        assert!(part.runs(&dims).is_empty());
    }
}

#[test]
fn rows_of_a_matrix_lie_in_runs() {
    let all = Elements::from(vec![0; 2 * 3 * 5]);
    let mut whole = all.part(&[1, 2, 3, 2], 0, &[30, 15, 5, 1]);
    drop(all);
    let mut lines = whole.lines_mut(&[1, 2, 3, 2]);
    let m = lines.matrix(0, 2);
    let base = m.row(0);
    // SAFETY: of one block.
    let at = |i, j| unsafe { m.row(i).offset_from(base) + m.column(j) as isize };
    assert_eq!([at(0, 1), at(0, 2), at(0, 5), at(1, 0), at(1, 3)], [1, 5, 11, 15, 21]);
}

/// Rows of a matrix of 4 by 6, column 1 to 4 of rows 1 and 2.
fn part(of: &Elements<u32>) -> Elements<u32> {
    of.part(&[2, 3], 7, &[6, 1])
}

fn counting() -> Elements<u32> {
    (0..24).collect()
}

fn read(e: &Elements<u32>, dims: &[usize]) -> Vec<u32> {
    let mut out = Elements::from(vec![0; dims.iter().product()]);
    let steps: Vec<isize> = e.strides(dims).into_iter().map(|s| s as isize).collect();
    out.gather(dims, e, &steps, 0);
    out.to_vec()
}

#[test]
fn parts_are_where_they_are() {
    let whole = counting();
    let p = part(&whole);
    assert!(!p.is_contiguous() && p.stands_at(&part(&whole)));
    assert_eq!(read(&p, &[2, 3]), [7, 8, 9, 13, 14, 15]);
    let row = whole.part(&[6], 12, &[1]);
    assert_eq!(&*row, [12, 13, 14, 15, 16, 17]);
    let lines = whole.part(&[1, 2, 3], 7, &[24, 6, 1]);
    let lines = lines.lines(&[1, 2, 3]);
    assert_eq!((lines.line(0, 0), lines.line(1, 0)), (&[7, 8, 9][..], &[13, 14, 15][..]));
}

/// A node in place, and lines of it.
#[test]
fn targets_may_be_an_operand() {
    let dims = [1, 2, 3];
    let to = counting().part(&dims, 6, &[24, 6, 1]);
    // SAFETY: nothing else is read.
    let same = unsafe { to.clone().target(&dims, [(&to, &dims[..], true)].into_iter()) };
    let mut same = same.unwrap();
    same.each(&dims, |run| run.fill(1));
    assert_eq!(read(&to, &dims), [1; 6]);
    let mut lines = same.lines_mut(&dims);
    lines.line(1, 0).fill(2);
    assert_eq!(read(&to, &dims), [1, 1, 1, 2, 2, 2]);
    let mut sum: Elements<u32> = (0..6).collect();
    sum.combine(&dims, &to, &[24, 6, 1], |x, y| x.iter_mut().zip(y).for_each(|(x, y)| *x += y));
    assert_eq!(*sum, [1, 2, 3, 5, 6, 7]);
}

#[test]
fn what_others_see_is_not_written() {
    let mut whole = counting();
    assert!(whole.unshared().is_some());
    let other = whole.clone();
    assert!(whole.unshared().is_none());
    let write = std::panic::AssertUnwindSafe(|| whole.clone().each(&[24], |run| run.fill(0)));
    assert!(std::panic::catch_unwind(write).is_err());
    assert_eq!(other[23], 23);
}

#[test]
fn elements_are_gathered_and_scattered() {
    let from = counting();
    let mut out = Elements::from(vec![0; 6]);
    // Backwards, every second one.
    out.gather(&[6], &from, &[-2], 11);
    assert_eq!(&*out, [11, 9, 7, 5, 3, 1]);
    let mut back = Elements::from(vec![0; 24]);
    back.scatter(&[6], (&[4], 2), &out, &[1]);
    assert_eq!((back[2], back[6], back[22], back[3]), (11, 9, 1, 0));
}

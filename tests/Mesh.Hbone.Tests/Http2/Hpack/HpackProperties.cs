using System.Buffers;
using FsCheck;
using FsCheck.Fluent;
using Mesh.Testing;

namespace Mesh.Hbone.Http2.Hpack;

public sealed class HpackProperties
{
    private static readonly string[] Names = [":authority", ":method", ":status", "forwarded", "baggage", "traceparent", "x-a", "x-b", "x-long-name-that-takes-room"];

    private static readonly Gen<string> Values = Gen.OneOf(
        Gen.Elements("", "200", "CONNECT", "10.0.0.1:80", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        Gen.Choose(0x20, 0xFF).Select(c => (char)c).ArrayOf().Select(chars => new string(chars)));

    private static readonly Gen<HeaderField> Fields = from name in Gen.Elements(Names) from value in Values select new HeaderField(name, value);

    // A block, and the sizes that the peer announced before it.
    private static readonly Gen<(uint[] Sizes, HeaderField[] Fields)> Blocks =
        from sizes in Gen.OneOf(Gen.Constant(Array.Empty<uint>()), Gen.Elements(0u, 64u, 4096u, 1_000_000u).ArrayOf())
        from fields in Fields.ArrayOf()
        select (sizes, fields);

    [Fact]
    public void What_is_encoded_decodes_to_the_same_whatever_table_sizes_the_peer_announces() =>
        Check.One(
            Config.QuickThrowOnFailure.WithMaxTest(300).WithEndSize(40),
            Prop.ForAll(Blocks.ArrayOf().ToArbitrary(), blocks =>
            {
                var encoder = new HpackEncoder();
                var decoder = new HpackDecoder(HpackEncoder.MaxTableSize, int.MaxValue);
                foreach (var (sizes, fields) in blocks)
                {
                    foreach (var size in sizes)
                    {
                        encoder.Resize(size);
                    }

                    var output = new ArrayBufferWriter<byte>();
                    encoder.Encode(fields, output);
                    var decoded = new List<HeaderField>();
                    Assert.True(decoder.Decode(output.WrittenSpan, decoded));
                    Assert.Equal(fields, decoded);
                }
            }));

    [Fact]
    public void Octets_at_random_decode_or_fail_as_a_bad_block_and_hold_no_more_than_they_may()
    {
        var random = new Random(Fuzz.Seed(20260721));
        for (var round = 0; round < Fuzz.Rounds(2_000); round++)
        {
            var decoder = new HpackDecoder(HpackEncoder.MaxTableSize, 4096);
            for (var block = 0; block < 5; block++)
            {
                DecodeHostile(decoder, random, RandomBlock(random));
            }
        }
    }

    [Fact]
    public void A_good_block_with_octets_changed_decodes_or_fails_as_a_bad_block()
    {
        var random = new Random(4711);
        var good = new ArrayBufferWriter<byte>();
        new HpackEncoder().Encode(Names.Select(name => new HeaderField(name, name + " with a value")), good);
        for (var round = 0; round < Fuzz.Rounds(10_000); round++)
        {
            var block = good.WrittenSpan.ToArray();
            for (var changes = random.Next(1, 5); changes > 0; changes--)
            {
                block[random.Next(block.Length)] = (byte)random.Next(256);
            }

            DecodeHostile(new HpackDecoder(HpackEncoder.MaxTableSize, 4096), random, block.AsSpan(0, random.Next(block.Length) + 1).ToArray());
        }
    }

    [Fact]
    public void A_small_block_that_names_a_large_entry_many_times_is_cut_at_the_limit()
    {
        var decoder = new HpackDecoder(HpackEncoder.MaxTableSize, 16 * 1024);
        var output = new ArrayBufferWriter<byte>();
        new HpackEncoder().Encode([new HeaderField("x-bomb", new string('~', 4000))], output);
        byte[] bomb = [.. output.WrittenSpan, .. Enumerable.Repeat((byte)0xBE, 60_000)];
        var fields = new List<HeaderField>();

        Assert.False(decoder.Decode(bomb, fields));
        Assert.Equal(4, fields.Count);
    }

    private static void DecodeHostile(HpackDecoder decoder, Random random, byte[] block)
    {
        var fields = new List<HeaderField>();
        try
        {
            decoder.Decode(block, fields);
        }
        catch (HpackException)
        {
            // The one answer to a bad block.
        }

        Assert.True(fields.Sum(field => field.Size) <= 4096, $"seed state {random.Next()}: {Convert.ToHexStringLower(block)}");
    }

    private static byte[] RandomBlock(Random random)
    {
        var block = new byte[random.Next(1, 200)];
        random.NextBytes(block);
        return block;
    }
}

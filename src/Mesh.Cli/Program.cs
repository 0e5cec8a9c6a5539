using System.CommandLine;
using Mesh.Cli.Certificates;
using Mesh.Cli.Redirect;
using Mesh.Cli.Xds;

return await new RootCommand("mesh, the command line of Mesh") { CertificatesCommand.Create(), XdsCommand.Create(), RedirectCommand.Create() }.Parse(args).InvokeAsync();
